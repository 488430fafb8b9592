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


def champion_accuracy_gate(difference: Interval, max_regression: float) -> Gate:
    """difference: candidate minus champion in accuracy, on the same texts."""
    return Gate(
        "not worse than the champion",
        f"accuracy at most {max_regression:g} below the champion's on the same texts",
        f"{difference.value:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]",
        math.isfinite(difference.value) and difference.value >= -max_regression,
    )


def majority_gate(difference: Interval) -> Gate:
    """difference: the classifier's accuracy minus that of the most frequent label, on the same texts."""
    return Gate(
        "better than the most frequent label",
        "accuracy above that of always naming the most frequent label, with 95 % confidence",
        f"{difference.value:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]",
        math.isfinite(difference.low) and difference.low > 0,
    )


def learnt_gate(difference: Interval) -> Gate:
    """difference: the assistant minus its base model in bits per byte, on the same answers to the same questions."""
    return Gate(
        "likelier answers than before finetuning",
        "fewer bits per byte than the base model on the same answers, with 95 % confidence",
        f"{difference.value:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]",
        math.isfinite(difference.high) and difference.high < 0,
    )


def ends_gate(share: Interval, limit: float, words: int) -> Gate:
    """share: of the answers that end by themselves, with at least so many words."""
    return Gate(
        "answers end by themselves",
        f"at least {limit:g} of the answers stop before the limit, with {words} words or more",
        f"{share.value:.3f} [{share.low:.3f}, {share.high:.3f}] of {share.n}",
        math.isfinite(share.value) and share.value >= limit,
    )


def ngram_gate(model: Interval, ngram: Interval) -> Gate:
    return Gate(
        "better than an order-3 n-gram model",
        "fewer bits per byte than the n-gram model on the same documents",
        f"{model.value:.4f} against {ngram.value:.4f}",
        math.isfinite(model.value) and model.value < ngram.value,
    )
