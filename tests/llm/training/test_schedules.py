"""Schedules are functions of the step alone: what they give at the ends and in the middle is what a run was promised."""

from itertools import pairwise

import pytest

from llm.training.schedules import learning_rate


def rates(name: str, steps: int = 100, warmup_share: float = 0.1, decay_share: float = 0.4) -> list[float]:
    return [
        learning_rate(name, step, steps, peak=2.0, warmup_share=warmup_share, decay_share=decay_share)  # type: ignore[arg-type]
        for step in range(steps)
    ]


@pytest.mark.parametrize("name", ["warmup-stable-decay", "cosine", "constant"])
def test_every_schedule_warms_up_alike_and_never_stands_still(name: str) -> None:
    found = rates(name)
    assert found[:10] == pytest.approx([2.0 * (step + 1) / 10 for step in range(10)])
    assert found[10] == 2.0
    assert min(found) > 0
    assert rates(name, steps=1, warmup_share=0.03)[0] > 0


def test_a_cosine_is_halfway_down_in_the_middle_and_ends_near_nothing() -> None:
    found = rates("cosine")
    assert found[55] == pytest.approx(1.0)
    assert all(first > second for first, second in pairwise(found[10:]))
    assert found[-1] == pytest.approx(2e-3, rel=0.3)


def test_a_stable_rate_stays_level_and_decays_in_its_share() -> None:
    found = rates("warmup-stable-decay")
    assert found[10:60] == [2.0] * 50
    assert found[80] == pytest.approx(2.0 * 20 / 41)
    assert found[-1] == pytest.approx(2.0 / 41)


def test_a_constant_rate_is_level_to_the_end() -> None:
    assert rates("constant")[10:] == [2.0] * 90
