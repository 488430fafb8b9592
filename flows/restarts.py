"""Restarts of a training, as one who only watches can tell them: from the order of its events, and the log of earlier attempts."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from llm.events import Event, Observer, Restarted, Resumed, RolledBack, StepDone

_REMEMBERED: Final = 100_000  # steps; nobody goes back further than some checkpoints


@dataclass(frozen=True)
class Made:
    """A step that was made: `at` seconds since the epoch it was heard of, `seconds` of `workers` went into it."""

    at: float
    step: int
    tokens: int
    seconds: float
    workers: int = 1


class Restarts:
    """An observer that hands on what it hears, and with the first step after a restart what that one cost.

    before: the steps of earlier attempts, as `standing` gives them. Workers that died are seen by their steps coming again.
    """

    def __init__(self, observe: Observer, before: Iterable[Made] = (), *, clock: Callable[[], float] = time.time) -> None:
        self._observe, self._clock = observe, clock
        self._made = deque(before, _REMEMBERED)
        self._resumed: Resumed | None = None
        self.told: list[Restarted] = []

    def __call__(self, event: Event) -> None:
        match event:
            case Resumed():
                self._resumed = event
            case RolledBack():
                go_back(self._made, event.step)
            case StepDone():
                self._step(event)
        self._observe(event)

    def end(self) -> None:
        """The training is over; where it went on after its last step, that is told now."""
        if self._resumed is not None:
            self._tell(self._resumed.step, self._resumed.name)

    def _step(self, done: StepDone) -> None:
        if self._resumed is not None:
            self._tell(self._resumed.step, self._resumed.name)
        elif self._made and done.step <= self._made[-1].step:  # it began anew: there was no checkpoint yet
            self._tell(done.step - 1, "")
        self._made.append(Made(self._clock(), done.step, done.tokens, done.seconds, done.workers))

    def _tell(self, step: int, name: str) -> None:
        self._resumed = None
        if self._made:
            pause = self._clock() - self._made[-1].at
            lost = go_back(self._made, step)
            tokens, seconds = sum(made.tokens for made in lost), sum(made.seconds for made in lost)
            restart = Restarted(step, name, len(lost), tokens, seconds, pause)
        else:
            restart = Restarted(step, name, None, None, None, None)
        self.told.append(restart)
        self._observe(restart)


def go_back(made: deque[Made], step: int) -> list[Made]:
    """Takes away the steps after `step`, and returns them, the last one first."""
    lost = []
    while made and made[-1].step > step:
        lost.append(made.pop())
    return lost


def standing(made: Iterable[Made]) -> list[Made]:
    """What stood in the end of the steps of an attempt, or of several in order, where some were made again."""
    kept: deque[Made] = deque(maxlen=_REMEMBERED)
    for each in made:
        go_back(kept, each.step - 1)
        kept.append(each)
    return list(kept)


def restart_line(restart: Restarted) -> str:
    """One line for a person: where it went on, what was lost, how long it took."""
    where = f"restarted after step {restart.step:,}" if restart.step else "restarted from the beginning"
    if restart.lost is None or restart.tokens is None or restart.seconds is None or restart.pause is None:
        return f"{where}: what was lost is not known here"
    pause = f"at work again {_time(restart.pause)} after the last step before"
    if not restart.lost:
        return f"{where}: nothing lost, {pause}"
    steps = f"{restart.lost:,} step{'s' if restart.lost > 1 else ''}"
    return f"{where}: {steps} lost ({restart.tokens:,} tokens, {_time(restart.seconds)} of work), {pause}"


def rollback_line(back: RolledBack) -> str:
    """One line for a person."""
    return f"went back to step {back.step:,}; the batches of steps {back.first:,} to {back.last:,} are left out: {back.why}"


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds:,.0f} s"
