"""A worker's task: read a part, clean it, sign what is kept for the search of duplicates, and publish all of it in the store."""

from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from infra.store import open_store
from infra.store.manifest import find, load, publish
from infra.store.protocol import Store
from llm.data.cleaning.config import CleaningConfig
from llm.data.cleaning.contamination import NgramIndex
from llm.data.cleaning.duplicates import digest, layout, signatures
from llm.data.cleaning.pipeline import Cleaned, Cleaner
from llm.data.gathering.columns import likely_column
from llm.data.gathering.plan import Part
from llm.data.gathering.tables import FINDINGS_PLACED, KEPT, REJECTED_PLACED, Table, signature_schema, total
from llm.data.reading.found import Span
from llm.data.reading.rows import read_span
from llm.data.rows import Rejected, Row

INDEX: Final = "contamination.npz"
KEPT_FILE, REJECTED_FILE, FINDINGS_FILE, SIGNATURES_FILE = (
    "kept.parquet",
    "rejected.parquet",
    "findings.parquet",
    "signatures.parquet",
)
_BATCH_CHARACTERS, _BATCH_ROWS = 1 << 20, 4096


@dataclass(frozen=True)
class Place:
    """Where parts are published: in a store, by URL or, in this process, at hand. scratch: a folder, on machines that have it."""

    store: Store | str
    prefix: str
    scratch: str

    def opened(self) -> Store:
        return open_store(self.store) if isinstance(self.store, str) else self.store

    def of(self, part: Part) -> str:
        return f"{self.prefix}/{part.identity}"


@dataclass
class _Batch:
    """Documents that are kept, until there are enough of them to be signed and written together."""

    places: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    characters: int = 0

    def add(self, place: int, row: Row, text: str) -> None:
        self.places.append(place)
        self.ids.append(row.id)
        self.sources.append(row.source)
        self.rows.append(row.number)
        self.texts.append(text)
        self.characters += len(text)

    @property
    def full(self) -> bool:
        return self.characters >= _BATCH_CHARACTERS or len(self.texts) >= _BATCH_ROWS


def make_part(place: Place, part: Part) -> str:
    """Publishes a part, unless that was done before, and returns the name of its folder in the store."""
    store, prefix = place.opened(), place.of(part)
    if find(store, prefix) is None:
        with TemporaryDirectory(prefix="part-", dir=place.scratch if Path(place.scratch).is_dir() else None) as name:
            facts = _Work(part, _cleaner(part.config, part.main_language, part.index, place), Path(name)).run()
            publish(store, prefix, Path(name), facts)
    return prefix


@lru_cache(maxsize=1)
def _cleaner(config: CleaningConfig, main_language: str, index_folder: str, place: Place) -> Cleaner:
    """Made once in a process, for all of its parts."""
    index = NgramIndex.load(load(place.opened(), index_folder).path(INDEX)) if index_folder else None
    return Cleaner(config, contamination=index, main_language=main_language)


class _Work:
    def __init__(self, part: Part, cleaner: Cleaner, folder: Path) -> None:
        self._part, self._cleaner = part, cleaner
        self._near = part.config.duplicates == "near"
        bands, _ = layout(part.config.similarity)
        self._kept = Table(folder / KEPT_FILE, KEPT)
        self._signed = Table(folder / SIGNATURES_FILE, signature_schema(bands))
        self._rejected = Table(folder / REJECTED_FILE, REJECTED_PLACED)
        self._findings = Table(folder / FINDINGS_FILE, FINDINGS_PLACED)
        self._batch = _Batch()
        self._rows = self._written = self._bytes = 0
        self._reasons, self._encodings, self._columns = Counter[str](), Counter[str](), Counter[str]()

    def run(self) -> dict[str, object]:
        """Reads and writes all; the facts for the part's manifest."""
        with self._kept, self._signed, self._rejected, self._findings:
            for span in self._part.spans:
                self._read(span)
            self._write()
        return {
            "rows": self._rows,
            "kept": self._written,
            "bytes": self._bytes,
            "rejected": total([self._reasons]),
            "encodings": total([self._encodings]),
            "columns": total([self._columns]),
        }

    def _read(self, span: Span) -> None:
        column, clean = likely_column(span.file, self._part.text_column), self._cleaner.clean
        before = self._rows
        for item in read_span(span, columns=(column,), encodings=self._encodings):
            place, self._rows = self._rows, self._rows + 1
            if isinstance(item, Rejected):
                self._reject(place, item)
                continue
            text = item.fields.get(column)
            if not isinstance(text, str):
                self._reject(place, _without_text(item, column))
                continue
            self._bytes += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
            cleaned = clean(text)
            if cleaned.reason:
                self._reject(place, _turned_away(item, cleaned, text))
                continue
            self._batch.add(place, item, cleaned.text)
            for finding in cleaned.findings:
                self._findings.add((place, item.id, finding.kind, finding.start, finding.end, column))
            if self._batch.full:
                self._write()
        self._columns[column] += self._rows - before

    def _reject(self, place: int, row: Rejected) -> None:
        self._reasons[row.reason] += 1
        self._rejected.add((place, row.id, row.source, row.row, row.reason, row.detail, row.text), len(row.text) + len(row.detail))

    def _write(self) -> None:
        batch, self._batch = self._batch, _Batch()
        self._kept.add_columns([batch.places, batch.ids, batch.sources, batch.rows, batch.texts, list(map(digest, batch.texts))])
        if self._near:
            found = signatures(batch.texts, self._part.config.similarity)
            self._signed.add_columns([found.owner + self._written, *found.bands.T])
        self._written += len(batch.texts)


def _without_text(row: Row, column: str) -> Rejected:
    """A row whose column of the text is not there, or holds something else."""
    value = row.fields.get(column)
    if value is None:
        what = f'"{column}" is null' if column in row.fields else f'no column "{column}"'
        reason = "missing-column"
    else:
        what, reason = f'"{column}" is {_kind(value)}, not text', "not-text"
    return Rejected(
        row.id, row.source, row.number, reason, f"{row.source}, row {row.number}: {what}", "" if value is None else str(value)
    )


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", bool: "true or false"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)


def _turned_away(row: Row, cleaned: Cleaned, text: str) -> Rejected:
    detail = f"{row.source}, row {row.number}: {cleaned.detail or cleaned.reason}"
    return Rejected(row.id, row.source, row.number, cleaned.reason, detail, text)
