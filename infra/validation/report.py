"""What came of it: a judgement an expectation, and the verdict, as values, as JSON, and in a few lines for a card."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from infra.validation.suites import Severity, Suite
from infra.validation.waivers import Waiver


@dataclass(frozen=True)
class Judgement:
    """One expectation: what was expected, in plain words, what is, and up to three rows that show it where it failed.

    bound: the limit as a number; None where an expectation of one's own has none. success: what Great Expectations said.
    """

    name: str
    expectation: str
    observed: float | None
    limit: str
    success: bool
    examples: list[str] = field(default_factory=list)
    suite: Suite = "invariants"
    severity: Severity = "block"
    bound: float | None = None
    waiver: Waiver | None = None

    @property
    def passed(self) -> bool:
        """Whether nothing stands against the data here: it holds, or somebody has waived it."""
        return self.success or self.waiver is not None

    @property
    def blocks(self) -> bool:
        return self.severity == "block" and not self.passed

    @property
    def verdict(self) -> str:
        """One word: passed, waived, warned or failed."""
        if self.success:
            return "passed"
        return "waived" if self.waiver else "failed" if self.severity == "block" else "warned"

    def document(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "words": self.expectation,
            "suite": self.suite,
            "severity": self.severity,
            "observed": self.observed,
            "limit": self.bound,
            "asked": self.limit,
            "success": self.success,
            "verdict": self.verdict,
            "waiver": self.waiver.document() if self.waiver else None,
            "examples": self.examples,
        }


@dataclass(frozen=True)
class NotJudged:
    """An expectation without a number to look at, and why: there was no earlier version, no evaluation set."""

    name: str
    expectation: str
    suite: Suite
    why: str


@dataclass(frozen=True)
class Report:
    """The verdict on data. `expired`: waivers that no longer count."""

    rows: list[Judgement]
    not_judged: list[NotJudged] = field(default_factory=list)
    expired: list[Waiver] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not any(row.blocks for row in self.rows)

    def having(self, verdict: str) -> list[Judgement]:
        """Those that passed, or were waived, warned or failed."""
        return [row for row in self.rows if row.verdict == verdict]

    def document(self) -> dict[str, Any]:
        """The report as JSON data, for a manifest."""
        return {
            "passed": self.passed,
            "expectations": [row.document() for row in self.rows],
            "not_judged": [asdict(each) for each in self.not_judged],
            "expired_waivers": [waiver.document() for waiver in self.expired],
        }

    def summary(self) -> dict[str, Any]:
        """What travels with a model: how many expectations held, and by name those that did not, waivers in full."""
        return summary(self.document())


def summary(document: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a report's document, as a manifest keeps it."""
    judged: Sequence[Mapping[str, Any]] = document["expectations"]
    shown = ("name", "words", "observed", "asked")
    by_verdict = {
        verdict: [{key: each[key] for key in shown} for each in judged if each["verdict"] == verdict]
        for verdict in ("failed", "warned")
    }
    waived = [{**{key: each[key] for key in shown}, **each["waiver"]} for each in judged if each["verdict"] == "waived"]
    return {
        "passed": document["passed"],
        "judged": len(judged),
        "held": sum(each["success"] for each in judged),
        **by_verdict,
        "waived": waived,
    }
