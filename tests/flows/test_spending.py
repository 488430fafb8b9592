"""What a training took: wall time by workers, failed attempts apart, money only where a price is known."""

import pytest

from flows.attempts import Attempt
from flows.restarts import Made
from flows.spending import Meter, spent, spent_line, worker_seconds
from llm.events import Resumed, StepDone
from llm.training.gpus import GPUS


def done(step: int, workers: int) -> StepDone:
    return StepDone(step, 9, 1.0, 32, 32 * step, 1e-3, 0.5, 0.25, workers=workers)


def test_wall_time_counts_for_each_worker_there_is_at_the_time() -> None:
    clock = iter([0.0, 10.0, 12.0, 32.0, 33.0, 40.0])
    meter = Meter(4, clock=lambda: next(clock))
    for event in (done(1, 4), done(2, 4), Resumed(1, "elsewhere"), done(2, 2), done(3, 2)):  # two of four died
        meter(event)
    assert meter.worker_seconds() == 4 * 12 + 2 * 28


def test_a_killed_attempt_counts_until_it_last_wrote() -> None:
    made = [Made(110.0, 1, 32, 0.25, workers=2), Made(111.0, 2, 32, 0.25, workers=2)]
    assert worker_seconds(Attempt("pretrain-a-1", 100.0, 115.0, made), 8) == 2 * 15
    assert worker_seconds(Attempt("pretrain-a-1", 100.0, 115.0), 8) == 8 * 15, "it never came to a step"


def test_money_is_that_of_all_attempts_at_the_list_price_of_a_known_gpu() -> None:
    took = spent("cuda", 7200.0, [1800.0, 1800.0], GPUS["h200"])
    assert took.money == pytest.approx(3 * 4.59)
    line = spent_line(took)
    assert line.startswith("took 7,200.0 GPU-seconds, and 3,600.0 in 2 attempts before; $13.77 (RunPod, on demand, October 2026")


def test_on_a_processor_no_price_is_made_up() -> None:
    took = spent("cpu", 12.34, [], None)
    assert took.money is None
    assert spent_line(took) == "took 12.3 worker-seconds of CPU"
