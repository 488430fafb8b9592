"""Token shards: documents as one long stream of ids on disk, each followed by the end-of-text token, split by document."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from infra.store.errors import InputError
from infra.store.manifest import Thing
from llm.text.special import document as document_ids
from llm.text.tokenizer import Tokenizer

Split = Literal["train", "validation", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "validation", "test")
_ENOUGH_PARENTS = 200  # fewer whole documents than this: the split is by passage, else a split might hold one book


class Named(Protocol):
    """What a document is called. `parent` is the whole document that a passage was cut from."""

    @property
    def id(self) -> str: ...
    @property
    def parent(self) -> str: ...


class Document(Named, Protocol):
    """What is asked of a document here."""

    @property
    def text(self) -> str: ...


@dataclass(frozen=True)
class Splitting:
    """Which split each document belongs to; the same document always lands in the same one."""

    by: Literal["document", "passage"]
    splits: tuple[Split, ...]


def split_documents(documents: Iterable[Named], *, validation_share: float, test_share: float) -> Splitting:
    """Decides by hash of the document's id, so that a document stays where it is when others come and go.

    The passages of one long document stay together, unless there are too few whole documents to hold any back.
    Raises InputError for fewer than three documents.
    """
    named = [(document.parent, document.id) for document in documents]
    parents = {parent for parent, _ in named}
    by: Literal["document", "passage"] = "document" if len(parents) >= _ENOUGH_PARENTS else "passage"
    units = [parent if by == "document" else passage for parent, passage in named]
    hashes = {unit: _hash(unit) for unit in units}
    if len(hashes) < 3:
        raise InputError(
            f"{len(hashes)} document(s) cannot be split into train, validation and test",
            where="data",
            mend="Give more text, or lower data.max_document_bytes so that it is cut into more passages.",
        )
    ordered = np.sort(np.fromiter(hashes.values(), dtype=np.uint64, count=len(hashes)))
    n_test = max(1, round(test_share * len(ordered)))
    n_validation = max(1, round(validation_share * len(ordered)))
    below_test, below_validation = ordered[n_test], ordered[n_test + n_validation]
    chosen: dict[str, Split] = {
        unit: "test" if value < below_test else "validation" if value < below_validation else "train"
        for unit, value in hashes.items()
    }
    return Splitting(by, tuple(chosen[unit] for unit in units))


@dataclass(frozen=True)
class SplitCounts:
    documents: int
    tokens: int
    bytes: int


def write_tokens(
    documents: Iterable[Document],
    splits: Sequence[Split],
    tokenizer: Tokenizer,
    folder: Path,
    *,
    shard_tokens: int = 100_000_000,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[Split, SplitCounts]:
    """Writes `<split>-00000.bin` (ids, little-endian: uint16, or uint32 for vocabularies beyond 65,536) and `.offsets`.

    The offsets (uint64) say where in the shard each document starts: with bos, if the tokenizer has one, and each ends with eos.
    """
    folder.mkdir(parents=True, exist_ok=True)
    writers = {split: _Writer(folder, split, token_dtype(tokenizer.size), shard_tokens) for split in SPLITS}
    done = 0
    for batch in _batches(zip(splits, documents, strict=True)):
        encoded = tokenizer.encode_batch([document.text for _, document in batch])
        for (split, document), ids in zip(batch, encoded, strict=True):
            writers[split].add(document_ids(tokenizer, ids), len(document.text.encode()))
        done += len(batch)
        progress(done, len(splits))
    return {split: writer.close() for split, writer in writers.items()}


def token_dtype(vocabulary: int) -> np.dtype[Any]:
    return np.dtype("<u2") if vocabulary <= 2**16 else np.dtype("<u4")


class TokenStream:
    """The tokens of one split as one array over its memory-mapped shards, each checked against the manifest first."""

    def __init__(self, tokens: Thing, split: Split) -> None:
        dtype = np.dtype(tokens.facts["dtype"])
        names = sorted(name for name in tokens.files if name.startswith(f"{split}-") and name.endswith(".bin"))
        self._shards: list[NDArray[Any]] = [np.memmap(tokens.path(name), dtype=dtype, mode="r") for name in names]
        offsets = [tokens.path(name.removesuffix(".bin") + ".offsets") for name in names]
        self._offsets: list[NDArray[Any]] = [np.memmap(path, dtype="<u8", mode="r") for path in offsets]
        self._starts = np.cumsum([0, *(len(shard) for shard in self._shards)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, start: int, length: int) -> NDArray[Any]:
        """`length` ids from `start`, across shards where needed: (length,)."""
        first = int(np.searchsorted(self._starts, start, side="right")) - 1
        within = start - int(self._starts[first])
        piece = self._shards[first][within : within + length]
        if len(piece) == length:
            return piece
        return np.concatenate([piece, self.read(start + len(piece), length - len(piece))])

    def document_starts(self) -> NDArray[np.int64]:
        """Where in the stream each document starts: (documents,)."""
        starts = [offsets.astype(np.int64) + start for offsets, start in zip(self._offsets, self._starts, strict=False)]
        return np.concatenate(starts) if starts else np.empty(0, dtype=np.int64)

    def document(self, number: int) -> NDArray[Any]:
        """The ids of the document in this place (from 0), with its end-of-text token."""
        bounds = np.append(self.document_starts(), len(self))
        return self.read(int(bounds[number]), int(bounds[number + 1] - bounds[number]))

    def documents(self) -> Iterator[NDArray[Any]]:
        """Each document's ids, without the end-of-text token."""
        for shard, offsets in zip(self._shards, self._offsets, strict=True):
            for start, end in zip(offsets, [*offsets[1:], len(shard)], strict=True):
                yield shard[int(start) : int(end) - 1]


class _Writer:
    def __init__(self, folder: Path, split: Split, dtype: np.dtype[Any], shard_tokens: int) -> None:
        self._folder, self._split, self._dtype, self._limit = folder, split, dtype, shard_tokens
        self._ids: list[NDArray[Any]] = []
        self._offsets: list[int] = []
        self._held = self._shard = 0
        self._documents = self._tokens = self._bytes = 0

    def add(self, ids: list[int], n_bytes: int) -> None:
        if self._held and self._held + len(ids) > self._limit:
            self._flush()
        self._offsets.append(self._held)
        self._ids.append(np.array(ids, dtype=self._dtype))
        self._held += len(ids)
        self._documents, self._tokens, self._bytes = self._documents + 1, self._tokens + len(ids), self._bytes + n_bytes

    def close(self) -> SplitCounts:
        if self._held:
            self._flush()
        return SplitCounts(self._documents, self._tokens, self._bytes)

    def _flush(self) -> None:
        stem = self._folder / f"{self._split}-{self._shard:05d}"
        np.concatenate(self._ids).tofile(stem.with_suffix(".bin"))
        np.array(self._offsets, dtype="<u8").tofile(stem.with_suffix(".offsets"))
        self._ids, self._offsets, self._held, self._shard = [], [], 0, self._shard + 1


def _hash(unit: str) -> int:
    return int.from_bytes(hashlib.sha256(b"slipway split " + unit.encode()).digest()[:8], "little")


def _batches(items: Iterable[tuple[Split, Document]], size: int = 1024) -> Iterator[list[tuple[Split, Document]]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
