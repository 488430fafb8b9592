"""Documents that repeat an earlier one: exactly, by a digest, or nearly, by MinHash and the exact Jaccard similarity.

Near duplicates as in Lee et al. (2022): signatures (Broder, 1997; `rensa`) cut into bands, documents that agree in a whole band
are candidates (Indyk and Motwani, 1998), and each pair of candidates is verified on its sets of shingles. What is similar
is joined into clusters, of which the first document is kept. Memory: one band's hashes at a time, 16 bytes a document, and the
candidate pairs; texts are read back for candidates alone, and their shingles lie in a temporary file.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Self

import numpy as np
import rensa
from numpy.typing import NDArray

from llm.data.cleaning.shingles import Hashes, Places, Shingled, jaccard, mixed, shingle

_PERMUTATIONS: Final = 112
_SEED: Final = 20221
_BANDS: Final = ((14, 8), (16, 7), (18, 6), (22, 5), (28, 4), (37, 3))  # (bands, rows): from the strictest on
_FOUND: Final = 0.89  # of the pairs that are just similar enough
_ROWS = 1024  # signatures made in one go: rensa hands them out as Python numbers
_NEIGHBOURS = 8  # of the documents in one bucket each is compared with so many before it, and with the first
_PAIRS = 1 << 16  # as Python numbers at a time
_BATCH_CHARACTERS = 1 << 20

ReadBand = Callable[[int], tuple[Places, Hashes]]
"""For a band the documents (ascending; one may come twice) and their hashes."""
ReadTexts = Callable[[Places], Iterable[str]]
"""The texts of these documents (ascending), in their order."""


@dataclass(frozen=True)
class Signatures:
    """What candidates are found by. Row i is of text `owner[i]`, ascending: one row a kind of shingle, none without a word."""

    owner: Places
    bands: NDArray[np.uint64]  # (rows, bands)


def digest(text: str) -> bytes:
    """What makes two texts the same: 16 bytes of a sha256. How white space stands between words does not count, case does."""
    return hashlib.sha256(" ".join(text.split()).encode("utf-8", "surrogatepass")).digest()[:16]


@cache
def layout(similarity: float) -> tuple[int, int]:
    """How a signature is cut: (bands, rows in each), so that nine of ten pairs of just this similarity become candidates.

    From 0.8 on the customary 14 bands of 8. At 0.7 these would miss four of ten such pairs: 18 bands of 6.
    """
    return next(((bands, rows) for bands, rows in _BANDS if 1 - (1 - similarity**rows) ** bands >= _FOUND), _BANDS[-1])


def signatures(texts: Sequence[str], similarity: float) -> Signatures:
    """Signatures for a batch of texts; the same text gives the same, whatever stands beside it."""
    bands, rows = layout(similarity)
    owners, found = [np.zeros(0, np.int64)], [np.zeros((0, bands), np.uint64)]
    for kind in shingle(texts):
        owner = np.flatnonzero(np.diff(kind.starts))
        for start in range(0, len(owner), _ROWS):
            chosen = owner[start : start + _ROWS]
            owners.append(chosen)
            found.append(_banded(_minhashes(kind, chosen), bands, rows))
    owner, hashes = np.concatenate(owners), np.concatenate(found)
    order = np.argsort(owner, kind="stable")
    return Signatures(owner[order], hashes[order])


def repeated(digests: NDArray[np.uint64]) -> Places:
    """For each row of `digests` (n, 2) the first row that is the same: its own place where it is the first."""
    order = np.lexsort((np.arange(len(digests)), digests[:, 1], digests[:, 0]))
    ranked = digests[order]
    new = np.ones(len(order), bool)
    new[1:] = (ranked[1:] != ranked[:-1]).any(axis=1)
    first = np.empty(len(order), np.int64)
    first[order] = order[new][np.cumsum(new) - 1] if len(order) else order
    return first


def near_duplicates(
    documents: int, read_band: ReadBand, read_texts: ReadTexts, similarity: float, folder: Path | None = None
) -> Places:
    """For each document the first of its cluster: its own place where it is that, or is like no other.

    documents: how many there are. similarity: the Jaccard similarity from which two are near duplicates. folder: where the
    temporary file of shingles lies. The same documents give the same result.
    """
    pairs = _candidates(documents, read_band, layout(similarity)[0])
    clusters = _Clusters()
    with _ShinglesOnDisk(np.unique(pairs), read_texts, folder) as shingles:
        for start in range(0, len(pairs), _PAIRS):
            for one, other in pairs[start : start + _PAIRS].tolist():
                if clusters.first(one) != clusters.first(other) and shingles.similarity(one, other) >= similarity:
                    clusters.join(one, other)
    first = np.arange(documents)
    for document in clusters.joined():
        first[document] = clusters.first(document)
    return first


def near_duplicates_of(texts: Sequence[str], similarity: float) -> list[int | None]:
    """For each text the place of the first that it repeats, exactly or nearly, or None. All in memory: for tens of thousands."""
    found = signatures(texts, similarity)
    near = near_duplicates(
        len(texts), lambda band: (found.owner, found.bands[:, band]), lambda places: (texts[place] for place in places), similarity
    ).tolist()
    seen: dict[bytes, int] = {}  # texts without a single word have no signature
    firsts = [near[seen.setdefault(digest(text), place)] for place, text in enumerate(texts)]
    return [None if first == place else first for place, first in enumerate(firsts)]


def _minhashes(kind: Shingled, chosen: Places) -> NDArray[np.uint32]:
    """The signatures of these texts, none of which is without shingles: (texts, permutations)."""
    start, end = kind.starts[chosen[0]], kind.starts[chosen[-1] + 1]
    offsets = np.append(kind.starts[chosen], end) - start  # texts between have no shingles of this kind
    values = np.ascontiguousarray(kind.values[start:end])
    matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(values, offsets.astype(np.uint64), _PERMUTATIONS, _SEED)
    return np.array(matrix.to_rows(), np.uint32)


def _banded(minhashes: NDArray[np.uint32], bands: int, rows: int) -> NDArray[np.uint64]:
    total = np.zeros((len(minhashes), bands), np.uint64)
    for row in range(rows):
        total = mixed(total + minhashes[:, row : bands * rows : rows])
    return total


def _candidates(documents: int, read_band: ReadBand, bands: int) -> NDArray[np.int64]:
    """(n, 2): pairs of documents, the earlier one first, that agree in a band, in their order."""
    found = np.zeros(0, np.int64)
    for band in range(bands):
        owner, hashes = read_band(band)
        order = np.argsort(hashes, kind="stable")
        owner, hashes = owner[order], hashes[order]
        pairs = [found, *_neighbours(owner, hashes, documents)]
        found = np.unique(np.concatenate(pairs)) if len(pairs) > 1 else found
    return np.stack(np.divmod(found, max(1, documents)), axis=1)


def _neighbours(owner: Places, hashes: Hashes, documents: int) -> Iterator[Places]:
    """Pairs within the runs of equal hashes, as one number each. In a bucket of thousands not each meets each."""
    for distance in range(1, _NEIGHBOURS + 1):
        same = np.flatnonzero(hashes[distance:] == hashes[:-distance])
        if not len(same):
            return
        yield owner[same] * documents + owner[same + distance]
    new = np.ones(len(hashes), bool)
    new[1:] = hashes[1:] != hashes[:-1]
    first = np.flatnonzero(new)[np.cumsum(new) - 1]
    far = np.flatnonzero(np.arange(len(hashes)) - first > _NEIGHBOURS)
    yield owner[first[far]] * documents + owner[far]


class _ShinglesOnDisk:
    """The sets of shingles of some documents, in a file: read twice for each pair, and too many to hold."""

    def __init__(self, documents: Places, read_texts: ReadTexts, folder: Path | None) -> None:
        self._documents = documents
        self._sizes = np.zeros((len(documents), 2), np.int64)
        self._held: tuple[int, list[Hashes]] = (-1, [])
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # closed by `with` over this object
        for first, texts in _batches(read_texts(documents)):
            kinds = shingle(texts)
            for row in range(len(texts)):
                sets = [kind.of(row) for kind in kinds]
                self._sizes[first + row] = [len(values) for values in sets]
                self._file.write(np.concatenate(sets).tobytes())
        self._file.flush()
        self._starts = np.concatenate(([0], np.cumsum(self._sizes.sum(axis=1))))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def similarity(self, one: int, other: int) -> float:
        """The Jaccard similarity by the kind of shingles that both have, the greater where they have both."""
        if self._held[0] != one:  # pairs come sorted by their first
            self._held = one, self._sets(one)
        return max(map(jaccard, self._held[1], self._sets(other)))

    def _sets(self, document: int) -> list[Hashes]:
        row = int(np.searchsorted(self._documents, document))
        start, sizes = int(self._starts[row]), self._sizes[row].tolist()
        values = np.frombuffer(os.pread(self._file.fileno(), sum(sizes) * 8, start * 8), np.uint64)
        return [values[: sizes[0]], values[sizes[0] :]]


class _Clusters:
    """Union-find over the few documents that are like another; a cluster is known by its first document."""

    def __init__(self) -> None:
        self._parents: dict[int, int] = {}

    def first(self, document: int) -> int:
        root = document
        while (parent := self._parents.get(root, root)) != root:
            root = parent
        while (parent := self._parents.get(document, document)) != root:
            self._parents[document] = root
            document = parent
        return root

    def join(self, one: int, other: int) -> None:
        one, other = sorted((self.first(one), self.first(other)))
        self._parents[one] = self._parents[other] = one

    def joined(self) -> list[int]:
        return list(self._parents)


def _batches(texts: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """(place of the first, texts), about a million characters each."""
    first = size = 0
    held: list[str] = []
    for text in texts:
        held.append(text)
        size += len(text)
        if size >= _BATCH_CHARACTERS:
            yield first, held
            first, held, size = first + len(held), [], 0
    if held:
        yield first, held
