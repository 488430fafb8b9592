"""When the result of a step is read: a GPU is given the next step first, and never waits for whoever reads the last one."""

from collections.abc import Callable
from typing import Generic, ParamSpec

P = ParamSpec("P")


class Results(Generic[P]):
    """Calls `finish` once for each step, in order: at once, or, if `late`, when the step after it was launched.

    A step that was not finite is found so late too. It changed no weight, and nothing is saved before it is found: what is lost is
    the time of one step.
    """

    def __init__(self, finish: Callable[P, None], *, late: bool) -> None:
        self._finish, self._late = finish, late
        self._waiting: Callable[[], None] | None = None

    def add(self, *arguments: P.args, **options: P.kwargs) -> None:
        """A step was launched."""
        self.flush()
        self._waiting = lambda: self._finish(*arguments, **options)
        if not self._late:
            self.flush()

    def flush(self) -> None:
        """Everything launched is finished: before a look at the model, and before it is saved."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting()
