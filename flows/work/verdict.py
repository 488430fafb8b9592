"""The verdict of Great Expectations on data: shown, and the end of the flow where it is no."""

from flows.pipeline.artifacts import show_table
from flows.pipeline.stage import Job
from infra.store.errors import RefusedError
from infra.validation import Judgement, Report
from llm.events import Noted, Tabled

HEAD = ("expectation", "severity", "observed", "limit", "passed")
_SAID = {"passed": "yes", "waived": "waived", "warned": "no, warns", "failed": "NO"}


def show_verdict(job: Job, report: Report, stage: str, section: str) -> None:
    """Shows it in Prefect's UI; where it is no, on the terminal too, and raises RefusedError. Warnings and waivers are said.

    section: the recipe's keys whose limits these are.
    """
    rows = [line(row) for row in report.rows]
    with_examples = [(*shown, "\n".join(row.examples)) for shown, row in zip(rows, report.rows, strict=True)]
    show_table(stage, (*HEAD, "sample rows"), with_examples, "What Great Expectations found in the data")
    for note in notes(report):
        job.observe(Noted(note))
    failed = report.having("failed")
    if failed:
        job.observe(Tabled(HEAD, tuple(rows)))
        shown = tuple((row.expectation, example) for row in failed for example in row.examples)
        job.observe(Tabled(("failed", "sample row"), shown))
        raise refusal(report, stage, section)


def refusal(report: Report, where: str, section: str) -> RefusedError:
    """The no in one sentence, with the mend. Names what failed, never rows: those are shown beside it."""
    failed = report.having("failed")
    name = failed[0].name if len(failed) == 1 else "NAME"
    return RefusedError(
        f"{len(failed)} of {len(report.rows)} expectations failed: {', '.join(row.expectation for row in failed)}",
        where=where,
        mend=f"Mend the data (the table shows rows of it), change a limit with --set {section}.{name}=VALUE, "
        f"or let somebody answer for it ({section}.waivers).",
    )


def notes(report: Report) -> list[str]:
    """What a person should read though the data passes: warnings, waivers that count, and waivers that no longer do."""
    warned = [
        f"warning: {row.expectation} {number(row.observed)}, wanted {row.limit} ({row.name})" for row in report.having("warned")
    ]
    waived = [
        f"waived: {row.expectation} {number(row.observed)}, wanted {row.limit}; {row.waiver.who} until {row.waiver.expires}: "
        f"{row.waiver.reason}"
        for row in report.having("waived")
        if row.waiver
    ]
    expired = [f"no longer waived: {each.expectation}, {each.who}'s waiver expired on {each.expires}" for each in report.expired]
    return [*warned, *waived, *expired]


def line(row: Judgement) -> tuple[str, str, str, str, str]:
    """A judgement as a row under `HEAD`."""
    return row.expectation, row.severity, number(row.observed), row.limit, _SAID[row.verdict]


def number(value: float | None) -> str:
    """For people: 1,234, or four digits of a small one."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.4g}"
