"""Data in one row of numbers, counted over every row of it, and a small sample of rows, in one pass over the text."""

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from llm.data.corpus import text_digest
from llm.data.counted import SHARES, Counted, Example
from llm.data.documents import Document
from llm.data.histograms import Histogram, Lengths
from llm.data.profile_kinds import Answers, Labels
from llm.data.sampling import HEAD, Extremes, Row, Sample, preview

_TELLING = 40  # letters from which a language can be told
_BLOCK = 1 << 16
_ALL_BLOCKS, _EVERY = 64, 8  # 4 MiB are compressed whole, then every eighth block: compressing is the slowest part
_LETTERS = bytes(byte for byte in range(128) if chr(byte).isalpha())
_CONTROLS = bytes({*range(32), 127} - set(b"\t\n\r\f"))


@dataclass(frozen=True)
class Profile:
    """`numbers`: a value for each of the names that expectations bound. `rows`: the sample. `histograms`: of lengths in bytes.

    shares: of the `languages` in the sample, of the `labels`; counts by reason or kind: `rejected`, `found`.
    """

    numbers: dict[str, float]
    rows: tuple[Row, ...]
    histograms: Mapping[str, Histogram] = field(default_factory=dict)
    shares: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def sample(self) -> dict[str, list[Any]]:
        """The sample as plain columns."""
        return {field.name: [getattr(row, field.name) for row in self.rows] for field in fields(Row)}

    def document(self) -> dict[str, Any]:
        """Everything but rows, as JSON data: what a manifest keeps, and the next version is compared with."""
        return {
            "numbers": self.numbers,
            "histograms": {name: histogram.document() for name, histogram in self.histograms.items()},
            "shares": {name: dict(shares) for name, shares in self.shares.items()},
        }


def profile(documents: Iterable[Document], *, seed: int = 0) -> Profile:
    """Reads all of the documents and nothing twice."""
    profiler = Profiler(seed=seed)
    for _ in profiler.watch(documents):
        pass
    return profiler.result()


class Profiler:
    """Counts rows while they pass through to somebody else, so that data is profiled and written in one pass.

    Parts may be counted apart and merged, in their order: the whole is what one pass would have counted (but for the compressed
    size, which is measured in blocks of each part). duplicates: whether to look for exact ones, which costs 100 bytes a row;
    where they are taken out before, nobody need.
    """

    def __init__(self, *, seed: int = 0, duplicates: bool = True) -> None:
        self._sample = Sample(seed)
        self._lengths = Lengths()
        self._characters = self._letters = self._controls = self._replacements = self._empty = self._duplicates = 0
        self._seen: set[bytes] | None = set() if duplicates else None
        self._compression = _Compression()
        self._extremes = Extremes(*_NAMES_OF_EXTREMES)
        self._labels, self._answers = Labels(), Answers()

    def watch(self, documents: Iterable[Document]) -> Iterator[Document]:
        """The same documents, counted on the way."""
        for document in documents:
            self.add(document)
            yield document

    def add(self, document: Document, *, label: str | None = None, answer: str | None = None, rejected: str | None = None) -> None:
        """Counts a row by its whole text; and its label, its (chosen) answer and its rejected one, where it has them."""
        text = document.text
        data = text.encode()
        size, length = len(data), len(text)
        letters, controls = count_kinds(text, data)
        replacements = 0 if text.isascii() else text.count("\ufffd")
        empty = not text.strip()
        digest = text_digest(text)
        duplicate = self._seen is not None and digest in self._seen
        if self._seen is not None:
            self._seen.add(digest)
        self._lengths.add(size)
        self._characters, self._letters = self._characters + length, self._letters + letters
        self._controls, self._replacements = self._controls + controls, self._replacements + replacements
        self._empty, self._duplicates = self._empty + empty, self._duplicates + duplicate
        self._compression.add(data)
        if label is not None:
            self._labels.counts[label] += 1
        answered = 0 if answer is None else self._answers.add(answer, rejected)
        shares = letters / max(1, length), controls / max(1, length)
        if (hashed := self._sample.wanted(digest, document.id)) is not None:
            self._sample.add(hashed, Row.of(document, size, *shares))
        lettered = 0.0 if empty else 1 - shares[0]
        scores = (empty, duplicate, controls, replacements, lettered, 1 / (1 + size), size, answered)
        for name, score in self._extremes.above(scores):
            self._extremes.add(name, score, Row.of(document, size, *shares, name))

    def merge(self, other: Self) -> None:
        """Adds what another one counted, of rows that come after."""
        self._lengths.merge(other._lengths)
        self._labels.merge(other._labels)
        self._answers.merge(other._answers)
        for name in ("_characters", "_letters", "_controls", "_replacements", "_empty", "_duplicates"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        if self._seen is not None and other._seen is not None:
            self._duplicates += len(self._seen & other._seen)
            self._seen |= other._seen
        self._compression.merge(other._compression)
        self._sample.merge(other._sample)
        self._extremes.merge(other._extremes)

    def result(self, counted: Counted | None = None) -> Profile:
        """The profile of what passed so far, with what was counted before, of which these are the rows that were kept."""
        n, lengths, characters = self._lengths.n, self._lengths, max(1, self._characters)
        counted = counted or Counted(rows=n, personal=False)
        rows, left = max(1, counted.rows), counted.kept / max(1, counted.rows) / max(1, n)
        numbers = {
            "documents": n,
            "bytes": lengths.sum,
            "empty_share": counted.rejected.get("empty", 0) / rows + self._empty * left,
            "mean_bytes": lengths.mean,
            "median_bytes": lengths.median(),
            "shortest_bytes": lengths.smallest,
            "longest_bytes": lengths.largest,
            "duplicate_share": counted.rejected.get("exact-duplicate", 0) / rows + self._duplicates * left,
            "control_share": self._controls / characters,
            "replacement_share": self._replacements / characters,
            "letter_share": self._letters / characters,
            "compressed_share": self._compression.share(),
            **counted.numbers(),
            **(self._labels.numbers() if self._labels.counts else {}),
            **(self._answers.numbers() if self._answers.chosen.n else {}),
        }
        sampled = self._sample.rows()
        shares: dict[str, Mapping[str, float]] = {"rejected": counted.rejected, "found": counted.found}
        languages = counted.languages or (_languages(sampled) if counted.personal else {})
        if languages:
            shares["languages"] = _shares(languages)
            numbers["main_language_share"] = max(shares["languages"].values())
        if self._labels.counts:
            shares["labels"] = self._labels.shares()
        histograms = {"bytes": lengths.histogram(), **(self._answers.histograms() if self._answers.chosen.n else {})}
        return Profile(numbers, (*sampled, *self._extremes.rows(), *_shown(counted)), histograms, shares)


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
    "longest_answer_bytes",
)


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

    def merge(self, other: Self) -> None:
        self._blocks, self._before, self._after = (
            self._blocks + other._blocks,
            self._before + other._before,
            self._after + other._after,
        )
        self.add(bytes(other._block))

    def share(self) -> float:
        if self._before:
            return self._after / self._before
        return len(zlib.compress(self._block, 1)) / len(self._block) if self._block else 0.0


def _shown(counted: Counted) -> list[Row]:
    """Rows that were counted before, as examples of the numbers that count them."""
    return [_example(each, SHARES[each.what]) for each in counted.examples if each.what in SHARES]


def _example(each: Example, number: str) -> Row:
    size = len(each.text.encode("utf-8", "surrogatepass"))
    shown = preview(each.text) if each.text.strip() else each.detail or "without text"
    return Row(each.id, each.source, size, 0.0, 0.0, shown, number, each.text[:HEAD].strip())


def _languages(rows: Iterable[Row]) -> Counter[str]:
    """The language of each row that is long enough to tell, by its beginning."""
    import py3langid  # half a second to load its model, and only wanted where data is judged

    heads = [row.head for row in rows if sum(map(str.isalpha, row.head)) >= _TELLING]
    return Counter(str(py3langid.classify(head)[0]) for head in heads)


def _shares(counts: Mapping[str, int]) -> dict[str, float]:
    n = sum(counts.values())
    return {name: count / n for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))}
