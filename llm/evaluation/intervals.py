"""Confidence intervals: by the bootstrap (Efron, 1979), and of a share (Wilson, 1927)."""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

LEVEL: Final = 0.95
_NORMAL: Final = 1.959964  # what a normal deviate stays below, in size, with this probability
_RESAMPLES: Final = 2_000
_AT_ONCE: Final = 2**20  # drawn indices held in memory at a time: 8 MiB


@dataclass(frozen=True)
class Interval:
    """An estimate from `n` units with the ends of its 95 % confidence interval, infinite where n is too small to tell."""

    value: float
    low: float
    high: float
    n: int

    def document(self) -> dict[str, float | int | None]:
        """For JSON, which knows no infinity: an unknown end is null."""
        low, high = (end if math.isfinite(end) else None for end in (self.low, self.high))
        return {"value": self.value, "low": low, "high": high, "n": self.n}

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}], n = {self.n:,}"


def ratio_interval(numerators: NDArray[Any], denominators: NDArray[Any], *, seed: int = 0) -> Interval:
    """sum(numerators) / sum(denominators) over n units drawn together, with its percentile interval from 2,000 resamples.

    numerators, denominators: (n,), the denominators positive. Units are resampled whole, so what belongs together within a
    unit stays together. One unit says nothing about others: its interval is infinite. With units of very unequal size the
    nominal 95 % covered 86 % at n = 10, 92 % at n = 100 and 94 % at n = 300 in a simulation.
    """
    n = len(numerators)
    assert n == len(denominators) > 0, f"{n} numerators, {len(denominators)} denominators"
    x, y = numerators.astype(np.float64), denominators.astype(np.float64)
    value = float(x.sum() / y.sum())
    if n == 1:
        return Interval(value, -math.inf, math.inf, n)
    generator = np.random.default_rng(seed)
    ratios = np.empty(_RESAMPLES)
    rows = max(1, _AT_ONCE // n)
    for start in range(0, _RESAMPLES, rows):
        drawn = generator.integers(0, n, size=(min(rows, _RESAMPLES - start), n))  # (rows, n)
        ratios[start : start + rows] = x[drawn].sum(axis=1) / y[drawn].sum(axis=1)
    low, high = np.quantile(ratios, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high), n)


def wilson(successes: int, n: int) -> Interval:
    """The share of successes with Wilson's score interval (1927): within 0 and 1, and 3 of 3 is not certainty."""
    assert 0 <= successes <= n and n, f"{successes} of {n}"
    share, z2 = successes / n, _NORMAL**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _NORMAL * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half), n)
