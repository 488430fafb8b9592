"""Finished parts, one after the other: without what repeats itself anywhere, as documents, with a record of what was left out."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq

from infra.store.manifest import Thing
from llm.data.cleaning.config import CleaningConfig
from llm.data.cleaning.duplicates import near_duplicates, repeated
from llm.data.cleaning.shingles import Hashes, Places
from llm.data.documents import Document, cut_document
from llm.data.gathering.part import FINDINGS_FILE, KEPT_FILE, REJECTED_FILE, SIGNATURES_FILE
from llm.data.gathering.tables import FINDINGS_PLACED, KEPT, REJECTED_PLACED, Table, band, digests, row_groups
from llm.data.rows import Rejected

_NO_PLACES: Final = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Finished:
    """A part that is done. name: of its source, empty where there is but one."""

    thing: Thing
    name: str

    @property
    def kept(self) -> int:
        return int(self.thing.facts["kept"])

    def path(self, file: str) -> Path:
        return self.thing.path(file)


class Merge:
    """The documents of all parts are counted through, from 0, in the order of the parts."""

    def __init__(self, parts: Sequence[Finished], config: CleaningConfig, folder: Path, max_document_bytes: int) -> None:
        self._parts, self._config, self._folder, self._max_bytes = parts, config, folder, max_document_bytes
        self._offsets = np.concatenate(([0], np.cumsum([part.kept for part in parts]))).astype(np.int64)
        self.kept_of = Counter[str]()  # by source
        self.rejected, self.found, self.found_rows = Counter[str](), Counter[str](), Counter[str]()
        self.bytes = Counter[str]()  # by source

    def documents(self, rejected: Table, findings: Table) -> Iterator[Document]:
        """The documents that stay, cut into passages. What is left out, and what was found in the others, goes into the tables."""
        ids: dict[int, str] = {}  # of documents that others repeat
        for number, part in enumerate(self._parts):
            out = _LeftOut(part, rejected, self.rejected)
            dropped: set[int] = set()
            for start, (places, *columns) in self._groups(number):
                for at, (place, identity, source, row, text) in enumerate(zip(places, *columns, strict=True)):
                    document = start + at
                    first = int(self._first[document])
                    named = _named(part.name, identity, source, row)
                    if document in self._repeated:
                        ids[document] = named[0]
                    if first != document:
                        dropped.add(place)
                        reason = "exact-duplicate" if self._exact[document] != document else "near-duplicate"
                        detail = f"{source}, row {row}: repeats {ids[first]}"
                        out.add(place, Rejected(identity, source, row, reason, detail, text))
                        continue
                    self.kept_of[part.name] += 1
                    yield from cut_document(*named, [text], self._max_bytes)
                    self.bytes[part.name] += len(text) if text.isascii() else len(text.encode())
            out.finish()
            self._keep_findings(part, dropped, findings)

    @property
    def kept(self) -> int:
        return self.kept_of.total()

    @cached_property
    def _exact(self) -> Places:
        """For each document the first that is the same to the letter."""
        if self._config.duplicates == "keep":
            return np.arange(self._offsets[-1])
        return repeated(np.concatenate([np.zeros((0, 2), np.uint64), *(digests(part.path(KEPT_FILE)) for part in self._parts)]))

    @cached_property
    def _first(self) -> Places:
        """For each document the first of those that it repeats in whatever way."""
        exact = self._exact
        if self._config.duplicates != "near":
            return exact
        alive = exact == np.arange(len(exact))

        def read_band(number: int) -> tuple[Places, Hashes]:
            owners, hashes = [_NO_PLACES], [np.zeros(0, np.uint64)]
            for part, offset in zip(self._parts, self._offsets, strict=False):
                owner, values = band(part.path(SIGNATURES_FILE), number)
                owner = owner + offset
                chosen = alive[owner]
                owners.append(owner[chosen])
                hashes.append(values[chosen])
            return np.concatenate(owners), np.concatenate(hashes)

        return near_duplicates(len(exact), read_band, self._texts, self._config.similarity, self._folder)[exact]

    @cached_property
    def _repeated(self) -> set[int]:
        first = self._first
        return set(np.unique(first[first != np.arange(len(first))]).tolist())

    def _texts(self, documents: Places) -> Iterator[str]:
        """The texts of these documents; only the row groups that hold one are read."""
        for part, offset, end in zip(self._parts, self._offsets, self._offsets[1:], strict=False):
            wanted = documents[np.searchsorted(documents, offset) : np.searchsorted(documents, end)] - offset
            if not len(wanted):
                continue
            with pq.ParquetFile(part.path(KEPT_FILE)) as file:
                start = 0
                for group in range(file.num_row_groups):
                    stop = start + file.metadata.row_group(group).num_rows
                    inside = wanted[np.searchsorted(wanted, start) : np.searchsorted(wanted, stop)] - start
                    if len(inside):
                        texts = file.read_row_group(group, columns=["text"], use_threads=False).column(0).take(inside)
                        yield from texts.to_pylist()
                    start = stop

    def _groups(self, number: int) -> Iterator[tuple[int, list[list[Any]]]]:
        """(the first's number among all documents, columns) of each row group of a part."""
        start = int(self._offsets[number])
        names = [name for name in KEPT.names if name != "digest"]
        for columns in row_groups(self._parts[number].path(KEPT_FILE), names):
            yield start, columns
            start += len(columns[0])

    def _keep_findings(self, part: Finished, dropped: set[int], findings: Table) -> None:
        seen: set[str] = set()
        last = -1
        for columns in row_groups(part.path(FINDINGS_FILE), FINDINGS_PLACED.names):
            for place, identity, kind, *rest in zip(*columns, strict=True):
                if place in dropped:
                    continue
                if place != last:
                    seen, last = set(), place
                self.found[kind] += 1
                self.found_rows[kind] += kind not in seen
                seen.add(kind)
                findings.add((identity, kind, *rest))


class _LeftOut:
    """The rejected rows of a part, in their order, with the duplicates between them as they are found."""

    def __init__(self, part: Finished, table: Table, counts: Counter[str]) -> None:
        self._name, self._table, self._counts = part.name, table, counts
        self._rows = (
            row for columns in row_groups(part.path(REJECTED_FILE), REJECTED_PLACED.names) for row in zip(*columns, strict=True)
        )
        self._next = next(self._rows, None)

    def add(self, place: int, row: Rejected) -> None:
        self._up_to(place)
        self._write(row)

    def finish(self) -> None:
        self._up_to(None)

    def _up_to(self, place: int | None) -> None:
        while self._next is not None and (place is None or self._next[0] < place):
            self._write(Rejected(*self._next[1:]))
            self._next = next(self._rows, None)

    def _write(self, row: Rejected) -> None:
        identity, source = _named(self._name, row.id, row.source, row.row)
        self._counts[row.reason] += 1
        self._table.add((identity, source, row.row, row.reason, row.detail, row.text), len(row.text) + len(row.detail))


def _named(name: str, identity: str, source: str, row: int) -> tuple[str, str]:
    """(id, source) where there are several sources: an id of a row's own stays as it is."""
    if not name:
        return identity, source
    return f"{name}/{identity}" if identity == f"{source}:{row}" else identity, f"{name}/{source}"
