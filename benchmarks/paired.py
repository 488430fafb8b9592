"""Contenders in turn in one process: whatever slows the machine for a while slows all of them, and their ratio stays."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median


@dataclass(frozen=True)
class Ratio:
    """The median of paired ratios, and an interval that holds the true median with 95 % probability."""

    median: float
    low: float
    high: float

    def document(self) -> dict[str, float]:
        return {name: round(value, 4) for name, value in asdict(self).items()}

    def __str__(self) -> str:
        return f"{self.median:.3f} [{self.low:.3f}, {self.high:.3f}]"


Clock = Callable[[], float]


def in_turn(
    contenders: Mapping[str, Callable[[], object]], rounds: int, clock: Clock = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each call, each contender once a round, another one first every time."""
    seconds = {name: list[float]() for name in contenders}
    for name in turns(list(contenders), rounds):
        began = clock()
        contenders[name]()
        seconds[name].append(clock() - began)
    return seconds


def turns(names: Sequence[str], rounds: int) -> Iterator[str]:
    """Whose turn it is: each once a round, another one first every time."""
    for number in range(rounds):
        first = number % len(names)
        yield from (*names[first:], *names[:first])


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """How many times as fast we are, from the seconds of both in each round. The interval needs six rounds or more."""
    ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    outside = rank(len(ratios))
    return Ratio(median(ratios), ratios[outside], ratios[len(ratios) - 1 - outside])


def rank(n: int, confidence: float = 0.95) -> int:
    """How many of n sorted values lie outside of the median's interval on each side: a sign test turned round (Thompson, 1936).

    The number of values below the true median is binomial with a half. Raises ValueError where n is too small for the confidence.
    """
    tail, outside = 2.0**-n, 0
    if 2 * tail > 1 - confidence:
        raise ValueError(f"{n} rounds say too little: six are the fewest for an interval")
    while 2 * (tail + math.comb(n, outside + 1) * 2.0**-n) <= 1 - confidence:
        outside += 1
        tail += math.comb(n, outside) * 2.0**-n
    return outside
