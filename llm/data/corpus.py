"""A corpus: documents gathered from a source, each exact text once, as Parquet shards with a manifest."""

import hashlib
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from infra.store.manifest import Thing, content_version, describe, publish
from infra.store.protocol import Store
from llm.data.documents import Document
from llm.data.reading.found import Found

_SCHEMA: Final = pa.schema([pa.field(name, pa.string(), nullable=False) for name in ("id", "parent", "source", "text")])
_GROUP_BYTES = 4_000_000  # text in one row group: what a reader holds at once
_SHARD_BYTES = 64_000_000


@dataclass(frozen=True)
class CorpusStats:
    """What was written: `rows` documents, `bytes` of UTF-8 text. Left out: exact `duplicates`, and documents that were `empty`."""

    rows: int
    bytes: int
    duplicates: int
    empty: int


@dataclass(frozen=True)
class Name:
    """What a document is called: its id, and that of the whole document it was cut from."""

    id: str
    parent: str


def write_corpus(
    documents: Iterable[Document], folder: Path, *, unique: bool = True, shard_bytes: int = _SHARD_BYTES
) -> CorpusStats:
    """Writes `corpus-00000.parquet` and on (zstd; `id`, `parent`, `source`, `text`), of about `shard_bytes` of text each.

    unique: of documents with the same text the first is kept. The same documents give the same bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    writer = _Writer(folder, shard_bytes)
    seen: set[bytes] = set()
    duplicates = empty = 0
    for document in documents:
        if not document.text.strip():
            empty += 1
            continue
        if unique:
            digest = text_digest(document.text)
            if digest in seen:
                duplicates += 1
                continue
            seen.add(digest)
        writer.add(document)
    writer.close()
    return CorpusStats(writer.rows, writer.bytes, duplicates, empty)


def text_digest(text: str) -> bytes:
    """What makes two texts the same: half of a sha256, so that a set of many stays small."""
    return hashlib.sha256(text.encode()).digest()[:16]


def corpus_facts(name: str, source: Found, stats: CorpusStats, validation: Mapping[str, Any]) -> dict[str, Any]:
    """What the manifest says about a corpus: where it came from, what it holds, and how it was judged."""
    return {
        "kind": "corpus",
        "name": name,
        **asdict(stats),
        **source.facts(),
        "validation": dict(validation),
    }


def publish_corpus(store: Store, folder: Path, name: str, facts: Mapping[str, Any]) -> Thing:
    """Moves the shards in `folder` to `datasets/<name>/<version>/`; the version is a hash of the shards alone."""
    version = content_version(describe(folder))
    return publish(store, f"datasets/{name}/{version}", folder, facts, version=version)


def read_corpus(thing: Thing) -> Iterator[Document]:
    """Every document in its order, one row group in memory at a time. Raises DamagedError for a shard that was changed."""
    for shard, group in _row_groups(thing):
        yield from _documents(shard, group)


def read_names(thing: Thing) -> Iterator[Name]:
    """What every document is called, in the same order; no text is read."""
    for shard, group in _row_groups(thing):
        yield from map(Name, *_columns(shard, group, ["id", "parent"]))


def read_rows(thing: Thing, rows: Collection[int]) -> dict[int, Document]:
    """The documents in these places (from 0); only the row groups that hold them are read."""
    wanted, start, found = sorted(set(rows)), 0, dict[int, Document]()
    for shard, group in _row_groups(thing):
        end = start + shard.metadata.row_group(group).num_rows
        if inside := wanted[bisect_left(wanted, start) : bisect_left(wanted, end)]:
            documents = list(_documents(shard, group))
            found |= {row: documents[row - start] for row in inside}
        start = end
    return found


def _row_groups(thing: Thing) -> Iterator[tuple[pq.ParquetFile, int]]:
    for name in sorted(name for name in thing.files if name.startswith("corpus-")):
        with pq.ParquetFile(thing.path(name)) as shard:
            yield from ((shard, group) for group in range(shard.num_row_groups))


def _documents(shard: pq.ParquetFile, group: int) -> Iterator[Document]:
    return map(Document, *_columns(shard, group, _SCHEMA.names))


def _columns(shard: pq.ParquetFile, group: int, names: list[str]) -> Iterator[list[str]]:
    return (column.to_pylist() for column in shard.read_row_group(group, columns=names).columns)


class _Writer:
    def __init__(self, folder: Path, shard_bytes: int) -> None:
        self._folder, self._shard_bytes = folder, shard_bytes
        self._shard: pq.ParquetWriter | None = None
        self._shards = self._in_shard = self._held_bytes = 0
        self._held: list[Document] = []
        self.rows = self.bytes = 0

    def add(self, document: Document) -> None:
        size = len(document.text.encode())
        self._held.append(document)
        self._held_bytes += size
        self.rows, self.bytes = self.rows + 1, self.bytes + size
        if self._held_bytes >= min(_GROUP_BYTES, self._shard_bytes):
            self._write_group()
            if self._in_shard >= self._shard_bytes:
                self._close_shard()

    def close(self) -> None:
        if self._held:
            self._write_group()
        self._close_shard()

    def _write_group(self) -> None:
        if self._shard is None:
            path = self._folder / f"corpus-{self._shards:05d}.parquet"
            self._shard = pq.ParquetWriter(path, _SCHEMA, compression="zstd", use_dictionary=["parent", "source"])
            self._shards, self._in_shard = self._shards + 1, 0
        columns = [pa.array([getattr(document, name) for document in self._held], pa.string()) for name in _SCHEMA.names]
        self._shard.write_table(pa.Table.from_arrays(columns, schema=_SCHEMA), row_group_size=len(self._held))
        self._in_shard += self._held_bytes
        self._held, self._held_bytes = [], 0

    def _close_shard(self) -> None:
        if self._shard is not None:
            self._shard.close()
            self._shard = None
