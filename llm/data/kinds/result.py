"""What came of a source's rows: examples, rows that were left out with the reason, things found in what was kept."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final, Generic, NamedTuple

from llm.data.cleaning.config import CleaningConfig
from llm.data.counted import INVALID, MALFORMED, Counted
from llm.data.counted import Example as Shown
from llm.data.documents import Document
from llm.data.kinds.kind import Kind, KindName, X
from llm.data.profile import Profile, Profiler
from llm.data.rows import Finding, Rejected
from llm.data.sampling import Row as SampleRow

WRONG: Final = frozenset((*INVALID, *MALFORMED, "undecodable", "unreadable-file"))
"""The reasons for which something is wrong with a row itself. What is empty, or repeats another row, is judged by its share."""
_SHOWN: Final = 3
_SAID: Final[Mapping[str, str]] = {
    "exact-duplicate": "that repeat an earlier one",
    "near-duplicate": "that nearly repeat an earlier one",
    "label-conflict": "that say another thing of the same text than others do",
    "contamination": "that stand in what is tested on or was learnt before",
    "not-json": "that are no JSON",
}


class Noticed(NamedTuple):
    """Something found in a row that was kept: in which row, what and where, and in which of its fields."""

    id: str
    finding: Finding
    field: str


@dataclass(frozen=True)
class Rows(Generic[X]):
    """All rows of a source: `rows` of them, of which each was kept or rejected.

    of: their kind. sources: the file of each kept one. columns_found: what was read as what, in words. near: of the kept ones that
    nearly repeat an earlier one, its id and that one's. cleaning: how they were cleaned, None where they were left as they are.
    recall: of evaluation questions that were put into kept texts, the share that was found again.
    """

    of: Kind[X]
    kept: tuple[X, ...]
    rejected: tuple[Rejected, ...]
    rows: int
    findings: tuple[Noticed, ...] = ()
    sources: tuple[str, ...] = ()
    columns_found: str = ""
    near: tuple[tuple[str, str], ...] = ()
    cleaning: CleaningConfig | None = None
    recall: float | None = None
    reasons: Mapping[str, int] = field(init=False)
    """How many rows were rejected for each reason."""

    def __post_init__(self) -> None:
        assert self.rows == len(self.kept) + len(self.rejected)  # no row is lost, none counted twice
        object.__setattr__(self, "reasons", dict(sorted(Counter(each.reason for each in self.rejected).items())))

    @property
    def kind(self) -> KindName:
        return self.of.name

    @property
    def wrong(self) -> tuple[Rejected, ...]:
        """The rows in which something is wrong: they are left out for what they are, not for what stands in others."""
        return tuple(each for each in self.rejected if each.reason in WRONG)

    def rejected_for(self, *reasons: str) -> tuple[Rejected, ...]:
        return tuple(each for each in self.rejected if each.reason in reasons)

    def left_out(self) -> str:
        """Each reason for which rows were left out, with how many; empty where none was."""
        return "; ".join(f"{count:,} {_SAID.get(reason, reason.replace('-', ' '))}" for reason, count in self.reasons.items())

    def numbers(self) -> dict[str, float]:
        """A value for each of the names that expectations bound."""
        return self.profile.numbers

    def sample(self) -> dict[str, list[Any]]:
        """Rows as columns, drawn at random and such as show a number, which is what they are `kept_for`."""
        return self.profile.sample()

    @cached_property
    def profile(self) -> Profile:
        """The kept rows in numbers, with what was counted of those that were left out."""
        profiler = Profiler(duplicates=False)
        for example, source in zip(self.kept, self.sources, strict=True):
            answer, rejected = (*self.of.answers(example), None, None)[:2]
            document = Document(example.id, example.id, source, self.of.whole(example))
            profiler.add(document, label=self.of.label(example) or None, answer=answer, rejected=rejected)
        found = profiler.result(self.counted())
        numbers = dict(found.numbers)
        numbers["near_duplicate_share"] += len(self.near) / max(1, self.rows)
        return replace(found, numbers=numbers, rows=(*found.rows, *self._telling()))

    def counted(self) -> Counted:
        """How many rows were rejected for which reason, and what was found in how many of those that were kept."""
        of_kind: dict[str, set[str]] = {}
        for row, finding, _ in self.findings:
            of_kind.setdefault(finding.kind, set()).add(row)
        personal = [rows for kind, rows in of_kind.items() if kind.startswith("pii:")]
        cleaning = self.cleaning
        return Counted(
            rows=self.rows,
            rejected=self.reasons,
            found=dict(sorted(Counter(each.finding.kind for each in self.findings).items())),
            found_rows={kind: len(rows) for kind, rows in sorted(of_kind.items())} | {"pii": len(set[str]().union(*personal))},
            personal=cleaning is not None and cleaning.pii != "ignore",
            replaced=cleaning is not None and cleaning.pii == "replace",
            contamination=cleaning is not None and bool(cleaning.evaluation_sets),
            recall=self.recall,
            examples=tuple(
                Shown(reason, each.id, each.source, each.row, each.detail, each.detail or each.text)
                for reason in self.reasons
                for each in self.rejected_for(reason)[:_SHOWN]
            ),
        )

    def _telling(self) -> Iterator[SampleRow]:
        """Rows that show what concerns a kind, or rows of several reasons at once."""
        shown: list[tuple[str, Sequence[tuple[str, str]]]] = [
            ("invalid_share", [(each.id, each.detail) for each in self.wrong[:_SHOWN]]),
            ("near_duplicate_share", [(one, f"is like {other}") for one, other in self.near[:_SHOWN]]),
        ]
        labels = Counter(self.of.label(example) for example in self.kept)
        if len(labels) > 1:
            rarest = min(labels, key=lambda label: labels[label])
            of_it = [example for example in self.kept if self.of.label(example) == rarest][:_SHOWN]
            shown.append(("label_rows", [(example.id, self.of.preview(example)) for example in of_it]))
        for name, kind in (("special_token_share", "special-token"), ("secret_share", "pii:key"), ("pii_share", "pii:email")):
            places = [each for each in self.findings if each.finding.kind == kind][:_SHOWN]
            shown.append((name, [(each.id, f"{kind} in {each.field} at {each.finding.start}") for each in places]))
        for name, rows in shown:
            yield from (SampleRow(row, "", 0, 0.0, 0.0, preview, name) for row, preview in rows)
