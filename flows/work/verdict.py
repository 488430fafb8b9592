"""The verdict of Great Expectations on data: shown, and the end of the flow where it is no."""

from flows.pipeline.artifacts import show_table
from flows.pipeline.stage import Job
from infra.store.errors import RefusedError
from infra.validation import Report
from llm.events import Tabled

_HEAD = ("expectation", "observed", "limit", "passed")


def show_verdict(job: Job, report: Report, stage: str, section: str) -> None:
    """Shows it in Prefect's UI; where it is no, on the terminal too, and raises RefusedError.

    section: the recipe's keys whose limits these are.
    """
    rows = [(row.expectation, _number(row.observed), row.limit, "yes" if row.passed else "NO") for row in report.rows]
    examples = ["\n".join(row.examples) for row in report.rows]
    with_examples = [(*row, shown) for row, shown in zip(rows, examples, strict=True)]
    show_table(stage, (*_HEAD, "sample rows"), with_examples, "What Great Expectations found in the data")
    failed = [row for row in report.rows if not row.passed]
    if failed:
        job.observe(Tabled(_HEAD, tuple(rows)))
        shown = tuple((row.expectation, example) for row in failed for example in row.examples)
        job.observe(Tabled(("failed", "sample row"), shown))
        raise RefusedError(
            f"{len(failed)} of {len(rows)} expectations failed: {', '.join(row.expectation for row in failed)}",
            where=stage,
            mend=f"Mend the data (the table shows rows of it), or change a limit with --set {section}.NAME=VALUE.",
        )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.4g}"
