"""Gates: rules on evidence. A gate that cannot run has not passed."""

import math
from dataclasses import dataclass

from llm.evaluation.intervals import Interval


@dataclass(frozen=True)
class Gate:
    """A rule, what was observed, and the verdict."""

    name: str
    rule: str
    observed: str
    passed: bool


def champion_gate(difference: Interval, max_regression: float) -> Gate:
    """difference: candidate minus champion in bits per byte, on the same documents."""
    return Gate(
        "not worse than the champion",
        f"at most {max_regression:g} bits per byte more than the champion on the same documents",
        f"{difference.value:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]",
        math.isfinite(difference.value) and difference.value <= max_regression,
    )


def ngram_gate(model: Interval, ngram: Interval) -> Gate:
    return Gate(
        "better than an order-3 n-gram model",
        "fewer bits per byte than the n-gram model on the same documents",
        f"{model.value:.4f} against {ngram.value:.4f}",
        math.isfinite(model.value) and model.value < ngram.value,
    )
