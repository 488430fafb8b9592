"""A gate lets nothing through that is worse than it may be, or that nobody could judge."""

import math

import numpy as np
import pytest

from flows.work.gates import champion_accuracy_gate, champion_gate, ends_gate, learnt_gate, majority_gate, ngram_gate
from llm.evaluation.bits_per_byte import Scores, paired_difference
from llm.evaluation.classification import paired_difference as accuracy_difference
from llm.evaluation.intervals import Interval

BYTES = np.full(50, 100)


def scores(bits_per_byte: float) -> Scores:
    return Scores(BYTES * bits_per_byte * math.log(2), BYTES)


@pytest.mark.parametrize(("candidate", "passed"), [(1.95, True), (2.0, True), (2.009, True), (2.02, False)])
def test_a_candidate_may_be_a_little_worse_than_the_champion_and_no_more(candidate: float, passed: bool) -> None:
    gate = champion_gate(paired_difference(scores(candidate), scores(2.0)), max_regression=0.01)
    assert gate.passed is passed
    assert gate.observed.startswith(f"{candidate - 2:+.4f}")


@pytest.mark.parametrize(("wrong", "passed"), [(0, True), (1, True), (3, False)])
def test_a_classifier_may_be_a_little_worse_than_the_champion_and_no_more(wrong: int, passed: bool) -> None:
    truth = np.array(["a"] * 100)
    ours = np.array(["b"] * wrong + ["a"] * (100 - wrong))
    gate = champion_accuracy_gate(accuracy_difference(truth, ours, truth), max_regression=0.01)
    assert gate.passed is passed
    assert gate.observed.startswith(f"{-wrong / 100:+.4f}")


def test_a_classifier_has_to_be_surely_better_than_the_most_frequent_label() -> None:
    truth = np.array(["a"] * 60 + ["b"] * 40)
    always, lucky, good = np.full(100, "a"), truth.copy(), truth.copy()
    lucky[1:60], lucky[60:99] = "a", "a"  # one more than always naming it
    good[:3] = "b"
    assert not majority_gate(accuracy_difference(truth, always, always)).passed
    assert not majority_gate(accuracy_difference(truth, lucky, always)).passed
    assert majority_gate(accuracy_difference(truth, good, always)).passed
    assert not majority_gate(Interval(0.5, -math.inf, math.inf, 1)).passed


def test_what_could_not_be_measured_has_not_passed() -> None:
    nothing = Interval(math.nan, math.nan, math.nan, 3)
    assert not champion_gate(nothing, max_regression=0.01).passed
    assert not champion_accuracy_gate(nothing, max_regression=0.01).passed
    assert not ngram_gate(nothing, Interval(2.0, 1.9, 2.1, 3)).passed


def test_as_many_bits_as_the_ngram_model_are_too_many() -> None:
    ngram = Interval(2.0, 1.9, 2.1, 3)
    assert not ngram_gate(ngram, ngram).passed
    assert ngram_gate(Interval(1.99, 1.9, 2.1, 3), ngram).passed


@pytest.mark.parametrize(
    ("low", "high", "passed"), [(-0.2, -0.1, True), (-0.2, 0.0, False), (-0.2, 0.1, False), (-math.inf, math.inf, False)]
)
def test_an_assistant_must_surely_have_learnt_something(low: float, high: float, passed: bool) -> None:
    assert learnt_gate(Interval(-0.1, low, high, 50)).passed is passed


@pytest.mark.parametrize(("share", "passed"), [(0.6, True), (0.59, False), (math.nan, False)])
def test_answers_must_end_as_often_as_the_recipe_says(share: float, passed: bool) -> None:
    gate = ends_gate(Interval(share, 0.1, 0.9, 32), 0.6, 8)
    assert gate.passed is passed
    assert gate.rule == "at least 0.6 of the answers stop before the limit, with 8 words or more"
