"""A gate lets nothing through that is worse than it may be, or that nobody could judge."""

import math

import numpy as np
import pytest

from flows.work.gates import champion_gate, ngram_gate
from llm.evaluation.bits_per_byte import Scores, paired_difference
from llm.evaluation.intervals import Interval

BYTES = np.full(50, 100)


def scores(bits_per_byte: float) -> Scores:
    return Scores(BYTES * bits_per_byte * math.log(2), BYTES)


@pytest.mark.parametrize(("candidate", "passed"), [(1.95, True), (2.0, True), (2.009, True), (2.02, False)])
def test_a_candidate_may_be_a_little_worse_than_the_champion_and_no_more(candidate: float, passed: bool) -> None:
    gate = champion_gate(paired_difference(scores(candidate), scores(2.0)), max_regression=0.01)
    assert gate.passed is passed
    assert gate.observed.startswith(f"{candidate - 2:+.4f}")


def test_what_could_not_be_measured_has_not_passed() -> None:
    nothing = Interval(math.nan, math.nan, math.nan, 3)
    assert not champion_gate(nothing, max_regression=0.01).passed
    assert not ngram_gate(nothing, Interval(2.0, 1.9, 2.1, 3)).passed


def test_as_many_bits_as_the_ngram_model_are_too_many() -> None:
    ngram = Interval(2.0, 1.9, 2.1, 3)
    assert not ngram_gate(ngram, ngram).passed
    assert ngram_gate(Interval(1.99, 1.9, 2.1, 3), ngram).passed
