"""How long a training takes still is reckoned from the steps made here, whatever was made before a resume."""

from typing import Any

import pytest

from flows.pace import Pace, step_words
from llm.events import StepDone


def done(step: int, **more: Any) -> StepDone:
    return StepDone(step, 400, 3.25, 512, 512 * step, 1e-3, 0.5, 0.25, **more)


def test_a_resumed_run_does_not_reckon_with_steps_of_the_killed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 102.0, 106.0])
    monkeypatch.setattr("flows.pace.monotonic", lambda: next(clock))
    pace = Pace()
    assert [pace(done(step)) for step in (381, 382, 384)] == [None, 36.0, 32.0]


def test_the_line_names_mfu_and_waiting_for_data_only_where_there_is_some() -> None:
    assert step_words(done(40)) == "step 40/400  loss 3.250  2,048 tokens/s"
    assert step_words(done(40, mfu=0.414, waited=0.025)).endswith("2,048 tokens/s  MFU 41%  10% waiting for data")
