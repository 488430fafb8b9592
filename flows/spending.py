"""What a training takes: seconds of its workers, also of attempts that failed, and money where a price is known."""

import time
from collections.abc import Callable, Sequence
from typing import Final

from flows.attempts import Attempt
from llm.events import Event, Spent, StepDone
from llm.training.gpus import GPU, PRICES_AS_OF

_HOUR: Final = 3600.0


class Meter:
    """An observer that counts wall time by workers, whose number may change at a restart. It runs from the start on."""

    def __init__(self, workers: int, *, clock: Callable[[], float] = time.time) -> None:
        self._clock, self._workers = clock, max(1, workers)
        self._last, self._sum = clock(), 0.0

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepDone):
            self._workers = event.workers
            self.worker_seconds()

    def worker_seconds(self) -> float:
        """Until now."""
        now = self._clock()
        self._sum += (now - self._last) * self._workers
        self._last = now
        return self._sum


def worker_seconds(attempt: Attempt, workers: int) -> float:
    """The same of an attempt that is over. workers: how many it had where it made no step to tell."""
    last, total, held = attempt.began, 0.0, max(1, workers)
    for made in attempt.made:
        held = made.workers
        total, last = total + (made.at - last) * held, made.at
    return total + max(0.0, attempt.ended - last) * held


def spent(device: str, own: float, failed: Sequence[float], gpu: GPU | None) -> Spent:
    """own, failed: worker-seconds of this attempt, and of each before it. gpu: the kind, where it is known: it has a list price."""
    money = gpu.price * (own + sum(failed)) / _HOUR if gpu else None
    source = f"{gpu.price_source}, {PRICES_AS_OF}: ${gpu.price:.2f} an hour of one {gpu.title}" if gpu else "no price is known"
    return Spent(device, own, sum(failed), len(failed), money, source)


def spent_line(spent: Spent) -> str:
    """One line for a person."""
    unit = "GPU-seconds" if spent.device == "cuda" else "worker-seconds of CPU"
    attempts = f"{spent.failed_attempts} attempt{'s' if spent.failed_attempts > 1 else ''} before"
    more = f", and {spent.failed_worker_seconds:,.1f} in {attempts}" if spent.failed_attempts else ""
    money = f"; ${spent.money:,.2f} ({spent.price_source})" if spent.money is not None else ""
    return f"took {spent.worker_seconds:,.1f} {unit}{more}{money}"
