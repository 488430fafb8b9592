"""When the loss explodes: which steps are not taken, and when to go back. Pure functions of the rows of a history.

Nothing has to be saved for it, a resumed run decides as an undisturbed one, and all workers decide alike: a row holds what they
added up together.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Final, Protocol, Self, TypeVar


class Shortened(Protocol):
    """An order of batches, such as `llm.data.batches.BatchOrder`."""

    def without(self, first: int, last: int) -> Self: ...


Left = TypeVar("Left", bound=Shortened)
Rows = Sequence[Mapping[str, Any]]
NEVER: Final = (math.inf, math.inf)
_IN_A_ROW: Final = 5  # steps skipped, one after the other: it does not pass
_OF_THE_LAST: Final = (10, 50)  # or so many of so many
_BEYOND: Final = 3.0  # times as far from the median as anything in the window: what is usual has long tails
_NATS: Final = 1.0  # the least that a loss lies above the median: one hard example in a small batch is no explosion
_TIMES: Final = 4.0  # and a gradient norm by so many times the median, for clipping takes care of less
_DEVIATION: Final = 1.4826  # of a normal distribution, in median absolute deviations


@dataclass(frozen=True)
class Guard:
    """A step is skipped when its loss or gradient norm is far from what is usual: from those of the last `window` steps taken.

    Far is above their median by `threshold` standard deviations (estimated by the median absolute deviation, which a few wild
    steps do not move), by three times as much as any of the window, and by 1 nat (a norm: by four times the median). `window` 0:
    never.
    """

    window: int
    threshold: float

    def limits(self, rows: Rows, step: int) -> tuple[float, float]:
        """The highest loss and gradient norm of `step` (from 0) that are usual; infinite while too few steps were taken.

        What came two steps before is the latest that counts: on a GPU the step just before is not known yet.
        """
        if not self.window:
            return NEVER
        taken: list[tuple[float, float]] = []
        for place in range(min(len(rows), step - 1) - 1, -1, -1):
            if len(taken) == self.window:
                break
            if not rows[place].get("skipped"):
                taken.append((rows[place]["loss"], rows[place]["gradient_norm"]))
        if len(taken) < self.window / 2:
            return NEVER
        losses, norms = zip(*taken, strict=True)
        return self._limit(losses, _NATS), self._limit(norms, _TIMES * statistics.median(norms))

    def _limit(self, values: Sequence[float], least: float) -> float:
        median = statistics.median(values)
        spread = _DEVIATION * statistics.median(abs(value - median) for value in values)
        return median + max(self.threshold * spread, _BEYOND * (max(values) - median), least)


def left_of(order: Left, rollbacks: Rows) -> Left:
    """What is left of an order of batches after each time that training went back; `History.rollbacks` has them."""
    for each in rollbacks:
        order = order.without(each["first"] - 1, each["last"] - 1)
    return order


def trouble(rows: Rows) -> int | None:
    """The first step (from 1) of a trouble that does not pass: five steps skipped in a row, or ten of the last fifty."""
    in_a_row = len(list(takewhile(lambda row: row.get("skipped"), reversed(rows))))
    if in_a_row >= _IN_A_ROW:
        return int(rows[-in_a_row]["step"])
    number, last = _OF_THE_LAST
    skipped = [int(row["step"]) for row in rows[-last:] if row.get("skipped")]
    return skipped[0] if len(skipped) >= number and rows[-1].get("skipped") else None


def why(loss: float, norm: float, limits: tuple[float, float]) -> str:
    """Why a step was skipped."""
    if not math.isfinite(loss):
        return f"the loss is {loss}"
    if not math.isfinite(norm):
        return f"the gradient of the loss is {norm}"
    if loss > limits[0]:
        return f"the loss is {loss:.3f}, of late at most {limits[0]:.3f} was usual"
    return f"the gradient norm is {norm:.3g}, of late at most {limits[1]:.3g} was usual"
