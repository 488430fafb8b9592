"""What a profile counts beside the text: labels, the lengths of answers, and of chosen against rejected ones."""

from collections import Counter
from typing import Any, Final, Self

from llm.data.histograms import Lengths

_LABELS: Final = 200  # kept by name in a profile's document; more are hardly classes


class Labels:
    """Rows of each label."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def merge(self, other: Self) -> None:
        self.counts.update(other.counts)

    def numbers(self) -> dict[str, float]:
        n, counts = max(1, self.counts.total()), self.counts.values()
        return {"labels": len(counts), "label_rows": min(counts, default=0), "largest_label_share": max(counts, default=0) / n}

    def shares(self) -> dict[str, float]:
        """The share of each label, the most frequent first."""
        n = max(1, self.counts.total())
        ordered = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        return {label: count / n for label, count in ordered[:_LABELS]}


class Answers:
    """Lengths of answers, in UTF-8 bytes, and of those that were rejected, where a row has two."""

    def __init__(self) -> None:
        self.chosen, self.rejected = Lengths(), Lengths()

    def add(self, answer: str, rejected: str | None) -> int:
        size = len(answer.encode())
        self.chosen.add(size)
        if rejected is not None:
            self.rejected.add(len(rejected.encode()))
        return size

    def merge(self, other: Self) -> None:
        self.chosen.merge(other.chosen)
        self.rejected.merge(other.rejected)

    def numbers(self) -> dict[str, float]:
        numbers = {
            "mean_answer_bytes": self.chosen.mean,
            "median_answer_bytes": self.chosen.median(),
            "longest_answer_bytes": self.chosen.largest,
        }
        if self.rejected.n:
            numbers["length_ratio"] = self.chosen.sum / max(1, self.rejected.sum)
            numbers["longest_answer_bytes"] = max(self.chosen.largest, self.rejected.largest)
        return numbers

    def histograms(self) -> dict[str, Any]:
        if not self.rejected.n:
            return {"answer_bytes": self.chosen.histogram()}
        return {"chosen_bytes": self.chosen.histogram(), "rejected_bytes": self.rejected.histogram()}
