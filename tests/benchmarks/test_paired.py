"""The intervals of the benchmarks: a claim of speed says how sure it is."""

import random
from math import comb

import pytest

from benchmarks.paired import in_turn, rank, ratio


def test_the_interval_leaves_out_as_many_values_as_a_sign_test_allows() -> None:
    # the published table for 95 %: 6 rounds leave none out, 9 one, 15 three, 21 five on each side
    assert [rank(n) for n in (6, 9, 15, 21)] == [0, 1, 3, 5]
    for n in range(6, 60):
        outside = rank(n)
        assert (
            2 * sum(comb(n, k) for k in range(outside + 1)) / 2**n <= 0.05 < 2 * sum(comb(n, k) for k in range(outside + 2)) / 2**n
        )


def test_too_few_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match="six are the fewest"):
        rank(5)


def test_the_interval_holds_the_true_ratio_nineteen_times_in_twenty() -> None:
    chance = random.Random(0)
    held = 0
    for _ in range(400):
        noise = [chance.lognormvariate(0, 0.3) for _ in range(15)]
        ours = [each * chance.lognormvariate(0, 0.05) for each in noise]
        theirs = [1.2 * each * chance.lognormvariate(0, 0.05) for each in noise]
        found = ratio(ours, theirs)
        assert found.low <= found.median <= found.high
        held += found.low <= 1.2 <= found.high
    assert held >= 0.93 * 400


def test_contenders_take_turns_and_each_is_first_as_often() -> None:
    calls: list[str] = []
    seconds = in_turn({name: lambda name=name: calls.append(name) for name in "abc"}, 3)  # type: ignore[misc]
    assert "".join(calls) == "abcbcacab"
    assert [len(each) for each in seconds.values()] == [3, 3, 3]
