"""Rows that were left out and things that were found, as two Parquet files: whoever asks why a row is missing finds it there."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from llm.data.rows import Finding, Rejected

REJECTED_FILE: Final = "rejected.parquet"
FINDINGS_FILE: Final = "findings.parquet"


def _schema(**types: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in types.items()])


_TEXT, _NUMBER = pa.string(), pa.int64()
REJECTED: Final = _schema(id=_TEXT, source=_TEXT, row=_NUMBER, reason=_TEXT, detail=_TEXT, text=_TEXT)
FINDINGS: Final = _schema(id=_TEXT, kind=_TEXT, start=_NUMBER, end=_NUMBER, field=_TEXT)


def write_rejected(rows: Iterable[Rejected], folder: Path) -> Path:
    """One line a row, in the order given: where it stood, why it was left out, and its text."""
    return _write([tuple(getattr(row, name) for name in REJECTED.names) for row in rows], REJECTED, folder / REJECTED_FILE)


def write_findings(found: Iterable[tuple[str, Finding, str]], folder: Path) -> Path:
    """One line a finding: the row's id, what kind of thing, from where to where in its text as it was read, in which field."""
    rows = [(row, finding.kind, finding.start, finding.end, field) for row, finding, field in found]
    return _write(rows, FINDINGS, folder / FINDINGS_FILE)


def _write(rows: Sequence[tuple[str | int, ...]], schema: pa.Schema, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = [pa.array([_writable(row[place]) for row in rows], kind) for place, kind in enumerate(schema.types)]
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), path, compression="zstd")
    return path


def _writable(value: str | int) -> str | int:
    """Half a surrogate pair, which a rejected text may hold and no Parquet file can, as its escape."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
