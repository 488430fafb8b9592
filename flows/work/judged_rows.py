"""Rows of a kind before the gate: the report, and beside it every row that was left out and everything that was found."""

from typing import Any

from flows.pipeline.stage import Job
from flows.reporting import Gathered as Subject
from flows.work.verdict import put_before_the_gate
from infra.store.manifest import Thing
from infra.validation import Report
from llm.data.kinds.kind import X
from llm.data.kinds.sources import Gathered
from llm.data.kinds.written import write_findings, write_rejected
from llm.events import Noted


def judge_rows(job: Job, gathered: Gathered[X], data: Any, expectations: Any, *, stage: str, section: str) -> tuple[Report, Thing]:
    """Judges rows, tells what was left out of them, and publishes the report with the run. Raises RefusedError for a no.

    data: the recipe's section that says where they are. section: its keys, under which the expectations stand.
    """
    rows, folder = gathered.rows, job.scratch / "validation"
    write_rejected(rows.rejected, folder)
    write_findings(rows.findings, folder)
    subject = Subject(rows.kind, data.dataset_name, data.path, gathered.source, rows.profile, rows.counted(), rows.rejected)
    if rows.reasons:
        job.observe(Noted(f"left out: {rows.left_out()}"))
    return put_before_the_gate(job, subject, folder, expectations, stage=stage, section=section)


def facts_of(gathered: Gathered[X], report: Report, told: Thing) -> dict[str, Any]:
    """What the manifest of a dataset says of how its rows came to be those: counts, columns, profile, verdict, and the report."""
    rows, counted = gathered.rows, gathered.rows.counted()
    return {
        "columns": rows.columns_found,
        "rows_read": rows.rows,
        "rejected": dict(counted.rejected),
        "found": dict(counted.found),
        "found_rows": dict(counted.found_rows),
        "profile": rows.profile.document(),
        "report": told.prefix,
        **gathered.source.facts(),
        "validation": report.document(),
    }
