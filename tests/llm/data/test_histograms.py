"""Lengths in logarithmic bins: what is small is exact, what is large near enough, and parts add up to the whole."""

import random

import numpy as np
import pytest

from llm.data.histograms import Lengths


def lengths(*values: int) -> Lengths:
    counted = Lengths()
    for value in values:
        counted.add(value)
    return counted


def test_count_sum_and_extremes_are_exact_and_the_median_is_near() -> None:
    values = [int(value) for value in np.random.default_rng(0).lognormal(7, 2, 5000)]
    counted = lengths(*values)
    assert (counted.n, counted.sum, counted.smallest, counted.largest) == (5000, sum(values), min(values), max(values))
    assert counted.mean == pytest.approx(np.mean(values))
    assert counted.median() == pytest.approx(np.median(values), rel=0.01)
    assert lengths(3, 1, 2, 100).median() == 2.5
    assert lengths().median() == lengths().mean == lengths().smallest == 0


def test_a_histogram_counts_every_value_once_between_its_edges() -> None:
    values = [0, 0, 1, 2, 3, 90, 128, 1_000_000]
    histogram = lengths(*values).histogram()
    assert sum(histogram.counts) == len(values)
    assert len(histogram.edges) == len(histogram.counts) + 1
    assert histogram.edges[:3] == (0, 1, 1.414)
    assert histogram.edges[-2] <= 1_000_000 < histogram.edges[-1]
    assert (lengths().histogram().edges, lengths().histogram().counts) == ((), ())
    assert lengths(50, 60).histogram().edges[0] == pytest.approx(45.255)  # empty bins before the first are left out


def test_parts_add_up_to_the_whole() -> None:
    chance = random.Random(1)
    values = [chance.randrange(1 << chance.randrange(1, 24)) for _ in range(2000)]
    whole, part = lengths(*values), lengths(*values[:700])
    part.merge(lengths(*values[700:]))
    assert (part.histogram(), part.median(), part.sum, part.smallest) == (
        whole.histogram(),
        whole.median(),
        whole.sum,
        whole.smallest,
    )
