"""Stretches of a text, in order and apart: whether a place lies in one of them."""

from bisect import bisect_right
from collections.abc import Iterable


class Spans:
    """From (start, end) pairs; `place in spans` takes the logarithm of their number."""

    def __init__(self, spans: Iterable[tuple[int, int]]) -> None:
        self._spans = list(spans)
        self._starts = [start for start, _ in self._spans]

    def __contains__(self, place: int) -> bool:
        at = bisect_right(self._starts, place) - 1
        return at >= 0 and place < self._spans[at][1]
