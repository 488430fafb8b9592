"""How well the cleaning finds what was planted: recall and precision for each fault of a labelled set of documents."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

CLEAN: Final = "clean"

SIGNS: Final[Mapping[str, frozenset[str]]] = {
    "very-short": frozenset({"too-short"}),
    "whitespace-only": frozenset({"empty"}),
}
"""By which reasons and kinds of findings a fault shows, where its name is not the reason's or the kind's own."""

# Faults that look alike: a short document of nothing is empty or boilerplate or short, and is rightly turned away as any of them.
_ALSO: Final[Mapping[str, frozenset[str]]] = {
    "very-short": frozenset({"empty", "boilerplate", "exact-duplicate", "near-duplicate"}),
    "boilerplate": frozenset({"too-short", "repetitive", "exact-duplicate", "near-duplicate"}),
    "repetitive": frozenset({"near-duplicate"}),
    "other-language": frozenset({"exact-duplicate", "near-duplicate"}),
    "exact-duplicate": frozenset({"near-duplicate"}),
    "near-duplicate": frozenset({"exact-duplicate"}),
}


@dataclass(frozen=True)
class Measured:
    """Of the documents with a fault, `found` were found of `planted`; of those where it was said, `right` of `said` had it."""

    fault: str
    planted: int
    found: int
    said: int
    right: int

    @property
    def recall(self) -> float:
        return self.found / self.planted if self.planted else math.nan

    @property
    def precision(self) -> float:
        return self.right / self.said if self.said else math.nan


def measure(labels: Mapping[str, str], said: Mapping[str, Collection[str]], *, leave_out: Collection[str] = ()) -> list[Measured]:
    """For each fault its recall and precision, clean documents last: these count as found where nothing was said of them.

    labels: the one fault of each document by id, or `clean`. said: by id the reason and the kinds of findings, none where a
    document is kept without any. leave_out: faults that nobody looked for. Where two faults look alike (a near duplicate and an
    exact one, a short text that is also boilerplate), the one said in the place of the other is neither right nor wrong.
    """
    found: Counter[str] = Counter()
    spoken: Counter[str] = Counter()
    right: Counter[str] = Counter()
    planted = Counter(label for label in labels.values() if label not in leave_out)
    for document, label in labels.items():
        if label in leave_out:
            continue
        signs = set(said.get(document, ()))
        found[label] += not signs if label == CLEAN else bool(signs & _signs(label))
        for fault in planted:
            shown = signs & _signs(fault)
            if fault == label and shown:
                right[fault] += 1
            if shown and (fault == label or not shown & (_signs(label) | _ALSO.get(label, frozenset()))):
                spoken[fault] += 1
        if not signs:
            spoken[CLEAN] += 1
            right[CLEAN] += label == CLEAN
    faults = sorted(planted, key=lambda fault: (fault == CLEAN, fault))
    return [Measured(fault, planted[fault], found[fault], spoken[fault], right[fault]) for fault in faults]


def table(rows: Iterable[Measured]) -> str:
    """As Markdown."""
    lines = ["| fault | documents | recall | precision |", "| --- | ---: | ---: | ---: |"]
    lines += [f"| {row.fault} | {row.planted} | {_share(row.recall)} | {_share(row.precision)} |" for row in rows]
    return "\n".join(lines)


def _signs(fault: str) -> frozenset[str]:
    return SIGNS.get(fault, frozenset({fault}))


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
