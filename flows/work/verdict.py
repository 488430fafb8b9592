"""The verdict of Great Expectations on data: shown, and the end of the flow where it is no."""

from flows.pipeline.artifacts import show_table
from flows.pipeline.stage import Job
from flows.verdict import HEAD, line, notes, refusal
from infra.validation import Report
from llm.events import Noted, Tabled


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
