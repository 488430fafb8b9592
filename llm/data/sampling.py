"""Rows that stand for many: a random sample, stratified by length, and the extreme ones. Parts merge to the sample of the whole."""

import hashlib
import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Self

from llm.data.documents import Document

_SAMPLED: Final = 1000  # rows of the sample, a quarter of them from each quarter of the lengths
_HELD: Final = 4 * _SAMPLED
_EXAMPLES: Final = 3
_PREVIEW: Final = 80
HEAD: Final = 1000


@dataclass(frozen=True)
class Row:
    """A row of the sample. `kept_for` is empty for one drawn at random, else the number that it is an extreme example of.

    preview: the beginning on one line; head: the first 1,000 characters, for expectations that look at text.
    """

    id: str
    source: str
    bytes: int
    letter_share: float
    control_share: float
    preview: str
    kept_for: str
    head: str = ""

    @classmethod
    def of(cls, document: Document, size: int, letter_share: float, control_share: float, kept_for: str = "") -> Self:
        """size: the text's UTF-8 bytes."""
        text = document.text
        return cls(document.id, document.source, size, letter_share, control_share, preview(text), kept_for, text[:HEAD])


def preview(text: str) -> str:
    """The beginning of a text on one line, and nothing in it that moves a terminal's cursor."""
    return repr(text[:_PREVIEW])[1:-1]


class Sample:
    """Bottom-k sampling (Cohen & Kaplan, 2007): the rows with the least hashes, whatever the order and the parts they come in."""

    def __init__(self, seed: int) -> None:
        self._seed = seed.to_bytes(8, "big")
        self._held: list[tuple[int, int, Row]] = []  # a heap: minus the hash, minus the place, the row
        self._n = 0

    def wanted(self, digest: bytes, name: str) -> int | None:
        """Of the next row, by the digest of its text and its name: what to `add` it with, or None where it is not drawn."""
        self._n += 1
        hashed = -int.from_bytes(hashlib.blake2b(digest + name.encode(), digest_size=8, key=self._seed).digest(), "big")
        return hashed if len(self._held) < _HELD or hashed > self._held[0][0] else None

    def add(self, hashed: int, row: Row) -> None:
        self._push((hashed, -self._n, row))

    def merge(self, other: Self) -> None:
        for hashed, place, row in other._held:
            self._push((hashed, place - self._n, row))
        self._n += other._n

    def rows(self) -> list[Row]:
        """All, in their order, where they are few; else as many from each quarter of the lengths."""
        held = [row for _, _, row in sorted(self._held, key=lambda held: -held[1])]
        if len(held) <= _SAMPLED:
            return held
        chosen = random.Random(0)
        order = sorted(range(len(held)), key=lambda place: held[place].bytes)
        cuts = [len(order) * quarter // 4 for quarter in range(5)]
        quarters = [order[start:end] for start, end in pairwise(cuts)]
        return [held[place] for quarter in quarters for place in sorted(chosen.sample(quarter, _SAMPLED // 4))]

    def _push(self, held: tuple[int, int, Row]) -> None:
        if len(self._held) < _HELD:
            heapq.heappush(self._held, held)
        elif held[:2] > self._held[0][:2]:
            heapq.heapreplace(self._held, held)


class Extremes:
    """For each name the rows with the highest scores above 0, the first of equals."""

    def __init__(self, *names: str) -> None:
        self._heaps: dict[str, list[tuple[float, int, Row]]] = {name: [] for name in names}
        self._least = dict.fromkeys(names, 0.0)
        self._added = 0

    def above(self, scores: tuple[float, ...]) -> Iterator[tuple[str, float]]:
        """The names, and scores, by which a row with these scores is to be added; a score a name, in their order."""
        return ((name, score) for (name, least), score in zip(self._least.items(), scores, strict=True) if score > least)

    def add(self, name: str, score: float, row: Row) -> None:
        self._added += 1
        heap = self._heaps[name]
        heapq.heappush(heap, (score, -self._added, row))
        if len(heap) > _EXAMPLES:
            heapq.heappop(heap)
        if len(heap) == _EXAMPLES:
            self._least[name] = heap[0][0]

    def merge(self, other: Self) -> None:
        for name, heap in other._heaps.items():
            for score, _, row in sorted(heap, key=lambda held: -held[1]):
                if score > self._least[name]:
                    self.add(name, score, row)

    def rows(self) -> list[Row]:
        return [row for heap in self._heaps.values() for _, _, row in sorted(heap, key=lambda held: (-held[0], -held[1]))]
