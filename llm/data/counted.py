"""What was counted before the profile saw a document: rows, those that were turned away, what was found in those that stayed."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

MALFORMED: Final = ("not-json", "not-an-object", "wrong-columns", "bad-quotes", "lone-surrogate")
INVALID: Final = (
    "missing-column",
    "not-text",
    "empty-question",
    "empty-answer",
    "no-label",
    "wrong-turns",
    "same-answers",
)
"""What is wrong with a row of a kind, beside what is wrong with any row."""
_SECRETS: Final = ("pii:key", "pii:card", "pii:iban", "pii:ssn")
_SHARES: Final = {
    "undecodable_share": ("undecodable",),
    "malformed_share": MALFORMED,
    "invalid_share": (*MALFORMED, *INVALID, "undecodable"),
    "empty_answer_share": ("empty-answer",),
    "same_answers_share": ("same-answers",),
    "conflict_share": ("label-conflict",),
    "near_duplicate_share": ("near-duplicate",),
    "low_quality_share": ("low-quality",),
    "repetitive_share": ("repetitive",),
    "symbol_noise_share": ("symbol-noise",),
    "boilerplate_share": ("boilerplate",),
    "too_short_share": ("too-short",),
    "other_language_share": ("other-language",),
    "contamination_share": ("contamination",),
}
"""Numbers that are shares of the rows there were, by the reasons they were rejected for."""
_FOUND: Final = {
    "html": "html_share",
    "mojibake": "mojibake_share",
    "zero-width": "zero_width_share",
    "bidi-override": "bidi_override_share",
    "special-token": "special_token_share",
}
SHARES: Final = {reason: name for name, reasons in _SHARES.items() if len(reasons) == 1 for reason in reasons} | {
    "empty": "empty_share",
    "exact-duplicate": "duplicate_share",
    **dict.fromkeys(MALFORMED, "malformed_share"),
    "unreadable-file": "unreadable_files",
    **{f"pii:{kind}": "pii_share" for kind in ("email", "phone", "ip", "addr")},
    **dict.fromkeys(_SECRETS, "secret_share"),
    **_FOUND,
}
"""The number that a row rejected for this reason, or one in which this was found, is an example of."""


@dataclass(frozen=True)
class Example:
    """A row that shows something: a rejected one with its reason and text, or one in which `what` was found, without: where it
    is, `detail` says, and what it is, nobody need see.
    """

    what: str
    id: str
    source: str
    row: int
    detail: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Of all rows, `rows`: how many were rejected for which reason; in those that were kept, how many findings of which kind, and
    in how many rows (`found_rows`; its key `pii` counts rows with any personal data, if given).

    personal: whether personal data was looked for and left in. contamination: whether evaluation sets were given; `recall`, of
    injected questions, where it was measured. languages: rows by language, where every row's was identified.
    """

    rows: int
    rejected: Mapping[str, int] = field(default_factory=dict)
    found: Mapping[str, int] = field(default_factory=dict)
    found_rows: Mapping[str, int] = field(default_factory=dict)
    personal: bool = True
    replaced: bool = False
    contamination: bool = False
    recall: float | None = None
    languages: Mapping[str, int] = field(default_factory=dict)
    examples: tuple[Example, ...] = ()

    @property
    def kept(self) -> int:
        return self.rows - sum(self.rejected.values())

    def numbers(self) -> dict[str, float]:
        """A value for each of the names that expectations bound. Shares of rejected rows are of all rows, others of those kept."""
        rows, kept = max(1, self.rows), max(1, self.kept)
        numbers: dict[str, float] = {
            "rows": self.kept,
            "rejected_share": 1 - self.kept / rows if self.rows else 0.0,
            "unreadable_files": self.rejected.get("unreadable-file", 0),
            **{name: self._rejected(reasons) / rows for name, reasons in _SHARES.items()},
            **{name: self.found_rows.get(kind, 0) / kept for kind, name in _FOUND.items()},
        }
        if not self.contamination:
            del numbers["contamination_share"]
        elif self.recall is not None:
            numbers["contamination_recall"] = self.recall
        if self.personal:
            kinds = [kind for kind in self.found_rows if kind.startswith("pii:")]
            numbers |= {f"{kind.replace(':', '_')}_found_share": self.found_rows[kind] / kept for kind in kinds}
            left = {} if self.replaced else self.found_rows  # a placeholder is nobody's
            any_of = left.get("pii", sum(left.get(kind, 0) for kind in kinds))  # the sum counts a row twice that has two kinds
            numbers["pii_share"] = min(1.0, any_of / kept)
            numbers["secret_share"] = min(1.0, sum(left.get(kind, 0) for kind in _SECRETS) / kept)
        return numbers

    def _rejected(self, reasons: Iterable[str]) -> int:
        return sum(self.rejected.get(reason, 0) for reason in reasons)


def total(parts: Iterable[Counted], examples: int = 3) -> Counted:
    """Of parts of one source, the whole; of each reason or kind the first `examples` are kept."""
    given = list(parts)
    sums = {
        name: dict(sum((Counter(getattr(each, name)) for each in given), Counter[str]()))
        for name in ("rejected", "found", "found_rows", "languages")
    }
    kept: list[Example] = []
    seen: Counter[str] = Counter()
    for example in (example for each in given for example in each.examples):
        if seen[example.what] < examples:
            seen[example.what] += 1
            kept.append(example)
    return Counted(
        rows=sum(each.rows for each in given),
        personal=any(each.personal for each in given),
        replaced=any(each.replaced for each in given),
        contamination=any(each.contamination for each in given),
        recall=min((each.recall for each in given if each.recall is not None), default=None),
        examples=tuple(kept),
        **sums,
    )
