"""The report as one document, and as two files: `report.json`, which a manifest refers to, and `report.html` for people."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from infra.validation.masking import excerpt, mask
from infra.validation.page import page
from infra.validation.report import Report

PAGE: Final = "report.html"
DOCUMENT: Final = "report.json"
_OFFENDERS: Final = 5


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What was judged. rows: as they were read; rejected, found, found_rows: counts by reason or kind; profile: its document.

    offenders: rejected rows, mappings with `id`, `source`, `row`, `reason`, `detail` and `text`; the first of each reason are
    shown, masked. previous: `version` and `profile` of the last version of the same dataset.
    """

    kind: str
    name: str
    version: str
    summary: str
    path: str
    rows: int
    rejected: Mapping[str, int]
    found: Mapping[str, int]
    found_rows: Mapping[str, int]
    profile: Mapping[str, Any]
    offenders: Iterable[Mapping[str, Any]] = field(default=())
    previous: Mapping[str, Any] | None = None
    rejected_file: str = ""
    findings_file: str = ""


def document_of(subject: Subject, report: Report, *, today: date | None = None) -> dict[str, Any]:
    """Everything the page shows, as JSON data. No text of it is longer than a line, and none tells what is somebody's own."""
    return {
        "format": 1,
        "kind": subject.kind,
        "name": subject.name,
        "version": subject.version,
        "summary": subject.summary,
        "path": subject.path,
        "judged": (today or datetime.now(UTC).date()).isoformat(),
        "rows": subject.rows,
        "kept": subject.rows - sum(subject.rejected.values()),
        **report.document(),
        "rejected": dict(subject.rejected),
        "rejected_examples": _offenders(subject.offenders),
        "found": dict(subject.found),
        "found_rows": dict(subject.found_rows),
        "profile": dict(subject.profile),
        "previous": dict(subject.previous) if subject.previous else None,
        "rejected_file": subject.rejected_file,
        "findings_file": subject.findings_file,
    }


def write_report(document: Mapping[str, Any], folder: Path) -> Path:
    """Writes both files into the folder, which is made; returns the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DOCUMENT).write_text(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    path = folder / PAGE
    path.write_text(page(document), encoding="utf-8")
    return path


def _offenders(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = []
    seen: Counter[str] = Counter()
    for row in rows:
        if seen[row["reason"]] < _OFFENDERS:
            seen[row["reason"]] += 1
            text = {"detail": mask(str(row["detail"])), "text": excerpt(str(row["text"]))}
            shown.append({**{name: row[name] for name in ("reason", "id", "source", "row")}, **text})
    return shown
