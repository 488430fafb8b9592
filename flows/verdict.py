"""A verdict on data in words: a line an expectation, what to read though it passes, and the refusal where it does not."""

from typing import Final

from infra.store.errors import RefusedError
from infra.validation import Judgement, Report

HEAD: Final = ("expectation", "severity", "observed", "limit", "passed")
_SAID: Final = {"passed": "yes", "waived": "waived", "warned": "no, warns", "failed": "NO"}


def line(row: Judgement) -> tuple[str, str, str, str, str]:
    """A judgement as a row under `HEAD`."""
    return row.expectation, row.severity, number(row.observed), row.limit, _SAID[row.verdict]


def refusal(report: Report, where: str, section: str) -> RefusedError:
    """The no in one sentence, with the mend. Names what failed, never rows: those are shown beside it.

    section: the recipe's keys whose limits these are.
    """
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
    warned = [f"warning: {_missed(row)} ({row.name})" for row in report.having("warned")]
    waived = [
        f"waived: {_missed(row)}; {row.waiver.who} until {row.waiver.expires}: {row.waiver.reason}"
        for row in report.having("waived")
        if row.waiver
    ]
    expired = [f"no longer waived: {each.expectation}; {each.who}'s waiver expired on {each.expires}" for each in report.expired]
    return [*warned, *waived, *expired]


def _missed(row: Judgement) -> str:
    return f"{row.expectation} {number(row.observed)}, wanted {row.limit}"


def number(value: float | None) -> str:
    """For people: 1,234, or four digits of a small one."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.4g}"
