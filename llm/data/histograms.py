"""Lengths counted in logarithmic bins: a few kilobytes for any number of them, and two counts added make the count of both."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Self

_BITS: Final = 7  # leading bits that are kept: lengths below 128 are exact, longer ones to within 0.8 %
_PER_OCTAVE: Final = 2


@dataclass(frozen=True)
class Histogram:
    """`counts[i]` values from `edges[i]` up to `edges[i + 1]`, the last edge excluded; edges grow by the square root of 2."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    def document(self) -> dict[str, Any]:
        return {"edges": list(self.edges), "counts": list(self.counts)}


class Lengths:
    """Whole numbers from 0 up, counted by their leading bits (HDR histograms; Tene, 2013): count, sum and extremes are exact."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self.n = self.sum = self.largest = 0
        self._smallest: int | None = None

    def add(self, value: int) -> None:
        shift = max(0, value.bit_length() - _BITS)
        self._counts[value >> shift << shift] += 1
        self.n += 1
        self.sum += value
        self.largest = max(self.largest, value)
        if self._smallest is None or value < self._smallest:
            self._smallest = value

    def merge(self, other: Self) -> None:
        self._counts.update(other._counts)
        self.n, self.sum, self.largest = self.n + other.n, self.sum + other.sum, max(self.largest, other.largest)
        if other._smallest is not None:
            self._smallest = other._smallest if self._smallest is None else min(self._smallest, other._smallest)

    @property
    def smallest(self) -> int:
        return self._smallest or 0

    @property
    def mean(self) -> float:
        return self.sum / max(1, self.n)

    def median(self) -> float:
        """Of an even number of values, the mean of the middle two; 0 of none."""
        return (self._at((self.n - 1) // 2) + self._at(self.n // 2)) / 2

    def histogram(self) -> Histogram:
        """In bins half an octave wide, from the one with the smallest value to the one with the largest."""
        if not self.n:
            return Histogram((), ())
        edges = list(_edges(self.largest))
        counts, place = [0] * (len(edges) - 1), 0
        for value in sorted(self._counts):
            while value >= edges[place + 1]:
                place += 1
            counts[place] += self._counts[value]
        first = next(place for place, count in enumerate(counts) if count)
        return Histogram(tuple(edges[first:]), tuple(counts[first:]))

    def _at(self, rank: int) -> float:
        for value in sorted(self._counts):
            rank -= self._counts[value]
            if rank < 0:
                width = 1 << max(0, value.bit_length() - _BITS)
                return float(min(max(value + (width - 1) / 2, self.smallest), self.largest))
        return 0.0


def _edges(largest: int) -> Iterator[float]:
    """0, 1, then by the square root of 2, to the first beyond `largest`; rounded, so that they are the same on every machine."""
    yield 0.0
    step = 0
    while True:
        edge = round(2.0 ** (step / _PER_OCTAVE), 3)
        yield edge
        if edge > largest:
            return
        step += 1
