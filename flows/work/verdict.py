"""The verdict of Great Expectations on data: shown, and the end of the flow where it is no."""

from pathlib import Path
from typing import Any

from flows.pipeline.artifacts import show_table
from flows.pipeline.stage import Job
from flows.reporting import Gathered, report_on
from flows.verdict import HEAD, line, notes, refusal
from infra.store.manifest import Thing, publish
from infra.validation import Report
from llm.events import Noted, Tabled


def put_before_the_gate(
    job: Job, gathered: Gathered, folder: Path, expectations: Any, *, stage: str, section: str
) -> tuple[Report, Thing]:
    """Judges what was gathered, and publishes the report with the run, beside the lists of rows in `folder`; a no too leaves one.

    section: the recipe's keys under which the expectations stand. Raises RefusedError.
    """
    report, _ = report_on(gathered, expectations, folder, job.store)
    told = publish(job.store, f"runs/{job.run}/artifacts/validation", folder, {"kind": "validation", "passed": report.passed})
    job.observe(Noted(f"report: {told.uri}/report.html"))
    show_verdict(job, report, stage, f"{section}.expectations")
    return report, told


def show_verdict(job: Job, report: Report, stage: str, section: str) -> None:
    """Shows it in Prefect's UI; where it is no, on the terminal too, and raises RefusedError. Warnings and waivers are said.

    section: the recipe's keys whose limits these are.
    """
    rows = [line(row) for row in report.rows]
    with_examples = [(*shown, "\n".join(row.examples)) for shown, row in zip(rows, report.rows, strict=True)]
    show_table(stage, (*HEAD, "sample rows"), with_examples, "What Great Expectations found in the data")
    for note in notes(report):
        job.observe(Noted(note))
    if failed := report.having("failed"):
        job.observe(Tabled(HEAD, tuple(rows)))
        shown = tuple((row.expectation, example) for row in failed for example in row.examples)
        job.observe(Tabled(("failed", "sample row"), shown))
        raise refusal(report, stage, section)
