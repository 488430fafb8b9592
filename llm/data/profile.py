"""A corpus in one row of numbers, counted over every document, and a small sample of documents, in one pass over the text."""

import heapq
import random
import zlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llm.data.corpus import text_digest
from llm.data.documents import Document

_SAMPLED = 1000  # rows of the sample, a quarter of them from each quarter of the lengths
_HELD = 4 * _SAMPLED
_EXAMPLES = 3
_PREVIEW = 80
_BLOCK = 1 << 16
_ALL_BLOCKS, _EVERY = 64, 8  # 4 MiB are compressed whole, then every eighth block: compressing is the slowest part
_LETTERS = bytes(byte for byte in range(128) if chr(byte).isalpha())
_CONTROLS = bytes({*range(32), 127} - set(b"\t\n\r\f"))


@dataclass(frozen=True)
class Row:
    """A document of the sample. `kept_for` is empty for one drawn at random, else the number that it is an extreme example of."""

    id: str
    source: str
    bytes: int
    letter_share: float
    control_share: float
    preview: str
    kept_for: str


@dataclass(frozen=True)
class Profile:
    """`numbers`: a value for each of the names that expectations bound. `rows`: the sample."""

    numbers: dict[str, float]
    rows: tuple[Row, ...]

    def sample(self) -> dict[str, list[Any]]:
        """The sample as plain columns."""
        return {field.name: [getattr(row, field.name) for row in self.rows] for field in fields(Row)}


def profile(documents: Iterable[Document], *, seed: int = 0) -> Profile:
    """Reads all of the documents and nothing twice."""
    profiler = Profiler(seed=seed)
    for _ in profiler.watch(documents):
        pass
    return profiler.result()


class Profiler:
    """Counts documents while they pass through to somebody else, so that a corpus is profiled and written in one pass."""

    def __init__(self, *, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self._held: list[Row] = []
        self._lengths = array("Q")
        self._characters = self._letters = self._controls = self._replacements = self._empty = self._duplicates = 0
        self._seen: set[bytes] = set()
        self._compression = _Compression()
        self._extremes = {name: _Extremes(name) for name in _NAMES_OF_EXTREMES}

    def watch(self, documents: Iterable[Document]) -> Iterator[Document]:
        """The same documents, counted on the way."""
        for document in documents:
            self._add(document)
            yield document

    def result(self) -> Profile:
        """The profile of what passed so far."""
        n = len(self._lengths)
        lengths = np.frombuffer(self._lengths, dtype=np.uint64) if n else np.zeros(1, dtype=np.uint64)
        characters = max(1, self._characters)
        numbers = {
            "documents": n,
            "bytes": int(lengths.sum()),
            "empty_share": self._empty / max(1, n),
            "mean_bytes": float(lengths.mean()),
            "median_bytes": float(np.median(lengths)),
            "shortest_bytes": int(lengths.min()),
            "longest_bytes": int(lengths.max()),
            "duplicate_share": self._duplicates / max(1, n),
            "control_share": self._controls / characters,
            "replacement_share": self._replacements / characters,
            "letter_share": self._letters / characters,
            "compressed_share": self._compression.share(),
        }
        return Profile(numbers, (*self._sampled(), *(row for extremes in self._extremes.values() for row in extremes.rows())))

    def _add(self, document: Document) -> None:
        text = document.text
        data = text.encode()
        size, length = len(data), len(text)
        letters, controls = count_kinds(text, data)
        replacements = 0 if text.isascii() else text.count("\ufffd")
        empty = not text.strip()
        digest = text_digest(text)
        duplicate = digest in self._seen
        self._seen.add(digest)
        self._lengths.append(size)
        self._characters, self._letters = self._characters + length, self._letters + letters
        self._controls, self._replacements = self._controls + controls, self._replacements + replacements
        self._empty, self._duplicates = self._empty + empty, self._duplicates + duplicate
        self._compression.add(data)
        shares = letters / max(1, length), controls / max(1, length)
        self._hold(document, size, *shares)
        scores = (empty, duplicate, controls, replacements, 0.0 if empty else 1 - shares[0], 1 / (1 + size), size)
        for extremes, score in zip(self._extremes.values(), scores, strict=True):
            if score > extremes.least:
                extremes.add(score, _row(document, size, *shares, extremes.name))

    def _hold(self, document: Document, size: int, letter_share: float, control_share: float) -> None:
        """Reservoir sampling (Vitter, 1985, algorithm R)."""
        n = len(self._lengths)
        if n <= _HELD:
            self._held.append(_row(document, size, letter_share, control_share))
        elif (place := int(self._random.random() * n)) < _HELD:
            self._held[place] = _row(document, size, letter_share, control_share)

    def _sampled(self) -> list[Row]:
        if len(self._held) <= _SAMPLED:
            return list(self._held)
        chosen = random.Random(0)
        order = sorted(range(len(self._held)), key=lambda place: self._held[place].bytes)
        cuts = [len(order) * quarter // 4 for quarter in range(5)]
        quarters = [order[start:end] for start, end in pairwise(cuts)]
        return [self._held[place] for quarter in quarters for place in sorted(chosen.sample(quarter, _SAMPLED // 4))]


def count_kinds(text: str, data: bytes) -> tuple[int, int]:
    """Letters and controls (Unicode category Cc without tab, line feed, return, form feed) in a text; `data` is its UTF-8."""
    if text.isascii():
        return len(data) - len(data.translate(None, _LETTERS)), len(data) - len(data.translate(None, _CONTROLS))
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    kinds = _kinds()[codes]
    return int(np.count_nonzero(kinds == 1)), int(np.count_nonzero(kinds == 2))


@cache
def _kinds() -> NDArray[np.uint8]:
    """For each code point: 1 a letter, 2 a control, 0 anything else. 0.1 s to make, 1.1 MB."""
    kinds = np.fromiter((chr(code).isalpha() for code in range(0x110000)), dtype=np.uint8, count=0x110000)
    kinds[[*_CONTROLS, *range(0x80, 0xA0)]] = 2
    return kinds


_NAMES_OF_EXTREMES = (
    "empty_share",
    "duplicate_share",
    "control_share",
    "replacement_share",
    "letter_share",
    "shortest_bytes",
    "longest_bytes",
)


class _Extremes:
    """The rows with the highest scores above 0, the first of equals."""

    def __init__(self, name: str) -> None:
        self.name, self.least = name, 0.0
        self._heap: list[tuple[float, int, Row]] = []
        self._added = 0

    def add(self, score: float, row: Row) -> None:
        self._added += 1
        heapq.heappush(self._heap, (score, -self._added, row))
        if len(self._heap) > _EXAMPLES:
            heapq.heappop(self._heap)
        if len(self._heap) == _EXAMPLES:
            self.least = self._heap[0][0]

    def rows(self) -> list[Row]:
        return [row for _, _, row in sorted(self._heap, key=lambda held: (-held[0], -held[1]))]


class _Compression:
    """How small the text becomes in blocks, documents one after the other: short ones alone would not compress at all."""

    def __init__(self) -> None:
        self._block = bytearray()
        self._blocks = self._before = self._after = 0

    def add(self, data: bytes) -> None:
        self._block += data
        self._block += b"\n"
        while len(self._block) >= _BLOCK:
            if self._blocks < _ALL_BLOCKS or self._blocks % _EVERY == 0:
                self._before += _BLOCK
                self._after += len(zlib.compress(self._block[:_BLOCK], 1))
            self._blocks += 1
            del self._block[:_BLOCK]

    def share(self) -> float:
        if self._before:
            return self._after / self._before
        return len(zlib.compress(self._block, 1)) / len(self._block) if self._block else 0.0


def _row(document: Document, size: int, letter_share: float, control_share: float, kept_for: str = "") -> Row:
    preview = repr(document.text[:_PREVIEW])[1:-1]  # one line, and nothing in it that moves a terminal's cursor
    return Row(document.id, document.source, size, letter_share, control_share, preview, kept_for)
