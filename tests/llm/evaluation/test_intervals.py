"""Confidence intervals: a gate decides on them, so they must neither flatter nor frighten."""

import json
import math

import numpy as np
import pytest

from llm.evaluation.intervals import Interval, ratio_interval, wilson


def test_the_value_is_the_ratio_of_the_sums_and_not_the_mean_of_the_ratios() -> None:
    interval = ratio_interval(np.array([10.0, 300.0]), np.array([10, 100]))
    assert interval.value == 310 / 110
    assert interval.n == 2


def test_units_that_all_agree_leave_nothing_uncertain() -> None:
    sizes = np.array([3, 50, 700])
    interval = ratio_interval(2.5 * sizes, sizes)
    assert interval.low == interval.value == interval.high == 2.5


def test_the_width_is_that_of_the_normal_theory_where_both_hold() -> None:
    values = np.random.default_rng(1).normal(2.0, 0.5, 4_000)
    interval = ratio_interval(values, np.ones(4_000))
    expected = 2 * 1.96 * values.std() / math.sqrt(4_000)
    assert math.isclose(interval.high - interval.low, expected, rel_tol=0.08)


def test_most_intervals_hold_the_truth() -> None:
    generator = np.random.default_rng(2)
    hits = 0
    for seed in range(200):
        sizes = generator.integers(50, 500, 100)
        interval = ratio_interval(sizes * generator.normal(1.5, 0.3, 100), sizes, seed=seed)
        hits += interval.low <= 1.5 <= interval.high
    assert 180 <= hits <= 200


def test_one_document_says_nothing_about_others_and_the_json_stays_valid() -> None:
    interval = ratio_interval(np.array([7.0]), np.array([2]))
    assert interval == Interval(3.5, -math.inf, math.inf, 1)
    assert json.dumps(interval.document(), allow_nan=False) == '{"value": 3.5, "low": null, "high": null, "n": 1}'


def test_the_same_numbers_give_the_same_interval_again() -> None:
    values, sizes = np.arange(1.0, 3_001.0), np.full(3_000, 7)
    assert ratio_interval(values, sizes) == ratio_interval(values, sizes)
    assert ratio_interval(values, sizes) != ratio_interval(values, sizes, seed=1)


def test_a_share_has_the_interval_that_the_textbooks_give_it() -> None:
    found = wilson(15, 20)  # Wilson (1927), as worked out in Newcombe (1998) and elsewhere
    assert (found.value, found.n) == (0.75, 20)
    assert found.low == pytest.approx(0.5313, abs=1e-4)
    assert found.high == pytest.approx(0.8881, abs=1e-4)
    assert (wilson(0, 10).low, wilson(10, 10).high) == pytest.approx((0.0, 1.0))
    assert 0.6 < wilson(10, 10).low < 0.8
