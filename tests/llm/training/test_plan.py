"""A plan's hours and money follow from what it states; what does not fit is said, with what would make it fit, computed."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from infra.store.errors import InputError
from llm.models.presets import preset
from llm.training.config import TrainingConfig
from llm.training.gpus import GPUS, gpu
from llm.training.known_runs import KNOWN_RUNS, meaning
from llm.training.plan import cost, rent
from llm.training.plan_advice import levers
from llm.training.plan_memory import StepShape, memory

EIGHT_B = preset("llama3-8b", vocabulary=128_256, context_length=8192)
TRAINING = TrainingConfig(tokens_per_parameter=20, batch_size=128, sequence_length=8192)


def test_hours_and_money_follow_from_flops_peak_and_mfu() -> None:
    run = cost(EIGHT_B, TRAINING, training_tokens=0)
    assert run.tokens == pytest.approx(20 * EIGHT_B.parameters(), rel=0.001)
    rented = rent(run, TRAINING, GPUS["h100"], 8, mfu=0.5, price=2.0)
    assert rented.tokens_per_second == pytest.approx(8 * 989.4e12 * 0.5 / EIGHT_B.flops_per_token(8192))
    assert rented.seconds == pytest.approx(run.flops / (8 * 989.4e12 * 0.5))
    assert rented.gpu_hours == pytest.approx(8 * rented.seconds / 3600)
    assert rented.money == pytest.approx(2 * rented.gpu_hours)
    assert rent(run, TRAINING, GPUS["h100"], 16, mfu=0.5, price=2.0).money == pytest.approx(rented.money), (
        "twice as many, half as long"
    )


def test_a_published_run_is_planned_at_about_its_published_speed() -> None:
    """torchtitan: Llama 3.1 8B at 8,192 tokens on H100s, compiled, 6,667 tokens/s a GPU."""
    run = cost(EIGHT_B, TRAINING, training_tokens=0)
    assert rent(run, TRAINING, GPUS["h100"], 1).tokens_per_second == pytest.approx(6667, rel=0.2)


def test_computing_activations_again_costs_a_quarter_of_the_usual_speed_and_a_given_speed_is_taken_as_it_is() -> None:
    run, again = cost(EIGHT_B, TRAINING, training_tokens=0), replace(TRAINING, activation_checkpointing="full")
    usual = rent(run, TRAINING, GPUS["h200"], 8).tokens_per_second
    assert rent(run, again, GPUS["h200"], 8).tokens_per_second == pytest.approx(0.75 * usual)
    given = rent(run, again, GPUS["h200"], 8, tokens_per_second=1000)
    assert (given.tokens_per_second, given.seconds) == (1000, run.tokens / 1000)
    assert given.mfu == pytest.approx(1000 * run.flops_per_token / (8 * 989.4e12))


@pytest.mark.parametrize(("changed", "gpus", "where"), [({}, 3, "--gpus"), ({"precision": "fp32"}, 8, "training.precision")])
def test_what_cannot_be_planned_is_refused_by_name(changed: dict[str, str], gpus: int, where: str) -> None:
    training = replace(TRAINING, **changed)  # type: ignore[arg-type]
    with pytest.raises(InputError) as caught:
        rent(cost(EIGHT_B, training, training_tokens=0), training, GPUS["h100"], gpus)
    assert caught.value.where == where


def test_a_gpu_is_found_however_it_is_written() -> None:
    assert [gpu(name).name for name in ("H200", "a100_80", "RTX 4090", "NVIDIA L40S", "b200")] == [
        "h200",
        "a100-80",
        "rtx4090",
        "l40s",
        "b200",
    ]
    with pytest.raises(InputError, match="a100-40, a100-80"):
        gpu("a100")


def test_every_lever_makes_it_fit_and_the_mildest_of_its_kind_is_named() -> None:
    model, kind = preset("llama3.2-1b", vocabulary=128_256, context_length=4096), GPUS["a100-80"]
    shape = StepShape(rows=16, length=4096)
    assert memory(model, shape).peak > kind.usable
    found = levers(model, shape, kind.usable, kind)
    assert all(lever.peak <= kind.usable or lever.what.startswith("--gpu") for lever in found)
    rows = next(lever for lever in found if "micro_batch_size" in lever.what)
    size = int(rows.what.split("=")[1])
    assert memory(model, replace(shape, rows=size, micro_batches=16 // size)).peak == rows.peak
    assert memory(model, replace(shape, rows=2 * size, micro_batches=8 // size)).peak > kind.usable
    assert any("activation_checkpointing" in lever.what for lever in found)


def test_a_state_that_no_other_setting_makes_smaller_needs_sharding() -> None:
    kind = GPUS["h100"]
    found = levers(EIGHT_B, StepShape(rows=16, length=8192, workers=8), kind.usable, kind)
    (lever,) = found
    assert lever.what.startswith("training.parallel=fsdp over ")
    assert lever.peak <= kind.usable
    around = EIGHT_B.parameters() - EIGHT_B.body_parameters()
    assert lever.peak > 4 * around  # the embedding and the output layer are whole on each


def test_a_recipe_that_shards_is_counted_as_it_shares_the_state() -> None:
    def shape(**training: Any) -> StepShape:
        return StepShape.of(TrainingConfig(steps=1, batch_size=16, sequence_length=8192, **training), "bf16", 16)

    whole, sharded, hybrid = (shape(), shape(parallel="fsdp"), shape(parallel="hybrid"))
    assert [each.shards for each in (whole, sharded, hybrid, shape(parallel="hybrid", shard_size=4))] == [1, 16, 8, 4]
    peaks = [memory(EIGHT_B, each).peak for each in (sharded, hybrid, whole)]
    assert peaks == sorted(peaks)
    assert peaks[0] < 0.6 * peaks[-1]
    assert shape(tensor_parallel=2).rows == 2 * whole.rows


def test_a_machine_without_gpus_gets_no_advice_to_shard_or_to_rent() -> None:
    found = levers(preset("llama-14m", vocabulary=4096, context_length=256), StepShape(rows=64, length=256), 2_000_000_000, None)
    assert found
    assert not [lever for lever in found if "gpu" in lever.what.lower()]


def test_known_runs_stand_beside_with_what_their_papers_say() -> None:
    ratios = {run.model: run.tokens_per_parameter for run in KNOWN_RUNS}
    assert ratios["Chinchilla 70B"] == pytest.approx(20)
    assert ratios["GPT-3 175B"] == pytest.approx(1.71, abs=0.01)
    assert ratios["Llama 2 7B"] == pytest.approx(297, abs=1)
    assert ratios["Llama 3 8B"] == pytest.approx(1868, abs=1)
    assert "smaller model" in meaning(ratios["GPT-3 175B"])
    assert "the least" in meaning(20)
    assert "larger model" in meaning(ratios["Llama 3 8B"])


def test_a_plan_is_made_without_loading_torch() -> None:
    code = (
        "import sys, llm.training.plan, llm.training.plan_memory, llm.training.plan_advice, llm.training.known_runs\n"
        "import flows.cli.plan\nsys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
