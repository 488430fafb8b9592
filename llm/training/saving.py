"""Saving beside the training: a step waits for the copy of the state alone, the writing goes on in a thread."""

import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

from llm.events import CheckpointSaved, Noted, Observer
from llm.training.checkpoints import Checkpoints, State, UnsavedError, copied
from llm.training.history import History
from llm.training.topology import Topology

_FIRST_PAUSE: Final = 0.1  # seconds
_LONGEST_PAUSE: Final = 30.0


class Saver:
    """Within its block, `save` begins a checkpoint while training goes on; at most one is on its way.

    What came of it is told at the next call: a checkpoint is there, or it could not be written and the next one will do. What
    else the thread raised is raised. The end of the block waits for it. All workers call the same in the same order.
    """

    def __init__(self, checkpoints: Checkpoints, topology: Topology, observe: Observer) -> None:
        self._checkpoints, self._topology, self._observe = checkpoints, topology.beside(), observe
        self._thread: threading.Thread | None = None
        self._step = 0
        self._outcome: str | BaseException = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.wait()
        elif self._thread is not None:
            self._thread.join()

    def save(self, step: int, state: State, history: History, facts: Mapping[str, Any]) -> None:
        """After `step`, once the one before is done. The state may change as soon as this returns."""
        self.wait()
        arguments = (step, copied(state), history.copy(), dict(facts), self._topology)
        self._step = step
        self._thread = threading.Thread(target=self._keep, args=arguments, name=f"checkpoint of step {step}", daemon=True)
        self._thread.start()

    def save_now(self, step: int, state: State, history: History, facts: Mapping[str, Any], *, seconds: float) -> None:
        """Here, and again for so many seconds where it cannot be written. Raises UnsavedError then."""
        self.wait()
        pause, until = _FIRST_PAUSE, time.monotonic() + seconds
        while True:
            try:
                name = self._checkpoints.save(step, state, history, facts, self._topology)
            except UnsavedError as error:
                if not self._topology.gather(time.monotonic() < until)[0]:
                    raise UnsavedError(
                        f"the checkpoint of step {step} cannot be saved: {error.what}",
                        where=error.where,
                        mend="Give the store its space, or its network, and run again: it goes on from the newest checkpoint.",
                    ) from None
                self._observe(Noted(f"the checkpoint of step {step} cannot be saved ({error.what}); it is tried again"))
            else:
                self._observe(CheckpointSaved(step, name))
                return
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def tell(self) -> None:
        """What came of a save that has ended; waits for none."""
        if self._thread is not None and not self._thread.is_alive():
            self.wait()

    def wait(self) -> None:
        """Until none is on its way."""
        if self._thread is None:
            return
        self._thread.join()
        self._thread = None
        if isinstance(self._outcome, UnsavedError):
            why = f"{self._outcome.where}: {self._outcome.what}" if self._outcome.where else self._outcome.what
            self._observe(Noted(f"the checkpoint of step {self._step} could not be saved ({why}); training goes on to the next"))
        elif isinstance(self._outcome, BaseException):
            raise self._outcome
        else:
            self._observe(CheckpointSaved(self._step, self._outcome))

    def _keep(self, *arguments: Any) -> None:
        try:
            self._outcome = self._checkpoints.save(*arguments)
        except BaseException as error:  # raised where somebody sees it
            self._outcome = error
