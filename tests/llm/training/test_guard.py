"""A step far from what is usual is told from one that is only unlucky, and a trouble that stays from one that passes."""

import math
from typing import Any

import numpy as np
import pytest

from llm.training.guard import NEVER, Guard, trouble

GUARD = Guard(window=100, threshold=10.0)


def rows(losses: list[float], norms: list[float] | None = None, skipped: tuple[int, ...] = ()) -> list[dict[str, Any]]:
    return [
        {"step": place + 1, "loss": loss, "gradient_norm": norm, "skipped": place + 1 in skipped}
        for place, (loss, norm) in enumerate(zip(losses, norms or [1.0] * len(losses), strict=True))
    ]


def fired(losses: list[float], norms: list[float]) -> list[int]:
    found, given = [], rows(losses, norms)
    for step in range(len(given)):
        most = GUARD.limits(given, step)
        if losses[step] > most[0] or norms[step] > most[1]:
            found.append(step)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_normal_runs_from_warm_up_to_the_end_lose_no_step(seed: int) -> None:
    random = np.random.default_rng(seed)
    steps = np.arange(1500)
    pretraining = 3 + 7 * np.exp(-steps / 80) + random.normal(0, 0.05, 1500)
    norms = 0.4 + 3 * np.exp(-steps / 20) + random.lognormal(-2, 0.6, 1500)
    assert fired(pretraining.tolist(), norms.tolist()) == []
    classifying = np.maximum(0.001, 0.7 * np.exp(-steps / 100)) * random.lognormal(0, 0.8, 1500)
    assert fired(classifying.tolist(), random.lognormal(0, 0.5, 1500).tolist()) == []


def test_an_explosion_of_the_loss_or_of_the_gradient_is_seen_at_its_first_step() -> None:
    random = np.random.default_rng(0)
    losses, norms = (3 + random.normal(0, 0.05, 300)).tolist(), (0.5 + random.normal(0, 0.05, 300)).tolist()
    losses[200], norms[250] = 4.5, 8.0
    assert fired(losses, norms) == [200, 250]


def test_what_was_skipped_is_not_what_is_usual_and_the_step_just_before_does_not_count_yet() -> None:
    usual = rows([3.0] * 60 + [50.0] + [3.0] * 2, skipped=(61,))
    assert GUARD.limits(usual, 62) == (4.0, 5.0)
    late = rows([3.0] * 60 + [3.5])
    assert GUARD.limits(late, 61) == (4.0, 5.0)
    assert GUARD.limits(late, 62) == (4.5, 5.0)
    assert GUARD.limits(late[:-1], 61) == GUARD.limits(late, 61), "as on a GPU, which reads a step late"


def test_too_few_steps_or_none_asked_for_never_skip() -> None:
    assert GUARD.limits(rows([3.0] * 60), 40) == NEVER
    assert Guard(0, 10.0).limits(rows([3.0] * 500), 400) == (math.inf, math.inf)


def test_five_in_a_row_or_ten_of_fifty_do_not_pass() -> None:
    flat = [3.0] * 100
    assert trouble(rows(flat, skipped=(97, 98, 99, 100))) is None
    assert trouble(rows(flat, skipped=(96, 97, 98, 99, 100))) == 96
    assert trouble(rows(flat, skipped=(91, 92, 93, 94, 95))) is None, "it has passed"
    every_fifth = tuple(range(55, 101, 5))
    assert trouble(rows(flat, skipped=every_fifth)) == 55
    assert trouble(rows(flat, skipped=every_fifth[1:])) is None
