"""Rows that were left out and things that were found, as two Parquet files: whoever asks why a row is missing finds it there."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from llm.data.gathering.tables import FINDINGS, REJECTED, Table
from llm.data.rows import Finding, Rejected

REJECTED_FILE: Final = "rejected.parquet"
FINDINGS_FILE: Final = "findings.parquet"


def write_rejected(rows: Iterable[Rejected], folder: Path) -> Path:
    """One line a row, in the order given: where it stood, why it was left out, and its text."""
    folder.mkdir(parents=True, exist_ok=True)
    with Table(folder / REJECTED_FILE, REJECTED) as table:
        for row in rows:
            texts = (_writable(row.id), _writable(row.source), row.row, row.reason, _writable(row.detail), _writable(row.text))
            table.add(texts, len(row.text) + len(row.detail))
    return folder / REJECTED_FILE


def write_findings(found: Iterable[tuple[str, Finding, str]], folder: Path) -> Path:
    """One line a finding: the row's id, what kind of thing, from where to where in its text as it was read, in which field."""
    folder.mkdir(parents=True, exist_ok=True)
    with Table(folder / FINDINGS_FILE, FINDINGS) as table:
        for row, finding, field in found:
            table.add((_writable(row), finding.kind, finding.start, finding.end, _writable(field)))
    return folder / FINDINGS_FILE


def _writable(text: str) -> str:
    """Half a surrogate pair, which a rejected text may hold and no Parquet file can, as its escape."""
    return text.encode("utf-8", "backslashreplace").decode()
