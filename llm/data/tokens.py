"""Token shards: documents as one long stream of ids on disk, each followed by the end-of-text token, split by document."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from infra.store.manifest import Thing
from llm.data.encoding import BATCH_BYTES, Encoded, encode_documents, token_dtype
from llm.data.splitting import SPLITS, Named, Split
from llm.text.tokenizer import Tokenizer

SHARD_TOKENS: Final = 100_000_000


class Document(Named, Protocol):
    """What is asked of a document here."""

    @property
    def text(self) -> str: ...


@dataclass(frozen=True)
class SplitCounts:
    """What a split holds: documents, tokens with bos and eos, and bytes of UTF-8 text."""

    documents: int
    tokens: int
    bytes: int


def write_tokens(
    documents: Iterable[Document],
    splits: Sequence[Split],
    tokenizer: Tokenizer,
    folder: Path,
    *,
    shard_tokens: int = SHARD_TOKENS,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[Split, SplitCounts]:
    """Writes `<split>-00000.bin` (ids, little-endian: uint16, or uint32 for vocabularies beyond 65,536) and `.offsets`.

    The offsets (uint64) say where in the shard each document starts: with bos, if the tokenizer has one, and each ends with eos.
    """
    done = 0
    with ShardWriters(folder, token_dtype(tokenizer.size), shard_tokens) as writers:
        for (places, sizes), encoded in encode_documents(_batches(documents, splits), tokenizer):
            writers.add(encoded, places, sizes)
            done += len(places)
            progress(done, len(splits))
    return writers.counts()


class ShardWriters:
    """The shards of every split, written as they come: what is held in memory is one batch."""

    def __init__(self, folder: Path, dtype: np.dtype[Any], shard_tokens: int = SHARD_TOKENS) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._writers = {split: _ShardWriter(folder, split, dtype, shard_tokens) for split in SPLITS}

    def add(self, encoded: Encoded, places: NDArray[np.uint8], sizes: NDArray[np.int64]) -> None:
        """Documents, the place in SPLITS of each one's split, and each one's bytes of text: (documents,) twice."""
        for place, split in enumerate(SPLITS):
            chosen = places == place
            if chosen.any():
                self._writers[split].add(encoded.select(chosen), int(sizes[chosen].sum()))

    def add_to(self, split: Split, encoded: Encoded) -> None:
        """Documents of one split, whose bytes are not counted."""
        self._writers[split].add(encoded, 0)

    def counts(self) -> dict[Split, SplitCounts]:
        return {split: writer.counts() for split, writer in self._writers.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for writer in self._writers.values():
            writer.close()


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


class _ShardWriter:
    def __init__(self, folder: Path, split: Split, dtype: np.dtype[Any], shard_tokens: int) -> None:
        self._folder, self._split, self._dtype, self._limit = folder, split, dtype, shard_tokens
        self._files: tuple[BinaryIO, BinaryIO] | None = None
        self._held = self._shard = 0
        self._documents = self._tokens = self._bytes = 0

    def add(self, encoded: Encoded, n_bytes: int) -> None:
        ends = np.cumsum(encoded.lengths)  # (documents,)
        starts = ends - encoded.lengths
        done = 0
        while done < len(ends):
            fit = int(np.searchsorted(ends, int(starts[done]) + self._limit - self._held, side="right"))
            if fit == done and self._held:
                self.close()
                continue
            fit = max(fit, done + 1)  # a document is never cut: one that is longer than a shard has a shard of its own
            self._write(encoded.ids[starts[done] : ends[fit - 1]], starts[done:fit] - starts[done] + self._held)
            done = fit
        self._bytes += n_bytes

    def counts(self) -> SplitCounts:
        return SplitCounts(self._documents, self._tokens, self._bytes)

    def close(self) -> None:
        """Ends the shard."""
        if self._files:
            for file in self._files:
                file.close()
            self._files, self._held, self._shard = None, 0, self._shard + 1

    def _write(self, ids: NDArray[Any], offsets: NDArray[np.int64]) -> None:
        if self._files is None:
            stem = self._folder / f"{self._split}-{self._shard:05d}"
            self._files = stem.with_suffix(".bin").open("wb"), stem.with_suffix(".offsets").open("wb")
        for file, values in zip(self._files, (ids.astype(self._dtype, copy=False), offsets.astype("<u8")), strict=True):
            file.write(np.ascontiguousarray(values).data)
        self._held, self._tokens, self._documents = self._held + len(ids), self._tokens + len(ids), self._documents + len(offsets)


def _batches(
    documents: Iterable[Document], splits: Sequence[Split]
) -> Iterator[tuple[tuple[NDArray[np.uint8], NDArray[np.int64]], list[str]]]:
    """Texts of about BATCH_BYTES, with the splits and the sizes of each."""
    texts: list[str] = []
    places: list[int] = []
    sizes: list[int] = []
    held = 0
    for split, document in zip(splits, documents, strict=True):
        texts.append(document.text)
        places.append(SPLITS.index(split))
        sizes.append(len(document.text.encode()))
        held += sizes[-1]
        if held >= BATCH_BYTES:
            yield (np.array(places, dtype=np.uint8), np.array(sizes, dtype=np.int64)), texts
            texts, places, sizes, held = [], [], [], 0
    if texts:
        yield (np.array(places, dtype=np.uint8), np.array(sizes, dtype=np.int64)), texts
