"""The paper plan for many GPUs agrees with what others measured, and its parts with what one can work out by hand."""

import subprocess
import sys
from dataclasses import replace
from math import sqrt

import pytest

from llm.models.presets import PRESETS
from llm.training.gpus import GPUS
from llm.training.interconnect import H100_CLUSTER
from llm.training.published_speeds import LLAMA3_70B, LLAMA3_405B, PUBLISHED_SPEEDS, PublishedSpeed
from llm.training.scale_limits import SECONDS_BETWEEN_FAILURES, critical_batch, failures, more_tokens, slow_machine
from llm.training.scale_plan import USUAL, Layout, Load, busy, fitting_load, gpu_memory, least_tokens, plan_step

H100 = GPUS["h100"]
EIGHT_B = PRESETS["llama3-8b"]
ROW = Load(rows=1, length=8192)


def planned(each: PublishedSpeed) -> float:
    return plan_step(each.model, each.load, each.layout, H100).tokens_per_second


@pytest.mark.parametrize("each", PUBLISHED_SPEEDS, ids=lambda each: f"{each.source} {each.name} on {each.layout.gpus}")
def test_published_speeds_come_out_within_their_margin(each: PublishedSpeed) -> None:
    assert planned(each) == pytest.approx(each.tokens_per_second, rel=each.margin)


@pytest.mark.parametrize("name", ["MPT 1B", "MPT 3B", "MPT 7B", "MPT 70B"])
def test_what_is_lost_from_128_to_512_gpus_comes_out_within_four_points(name: str) -> None:
    few, many = (next(each for each in PUBLISHED_SPEEDS if each.name == name and each.layout.gpus == gpus) for gpus in (128, 512))
    assert planned(many) / planned(few) == pytest.approx(many.tokens_per_second / few.tokens_per_second, abs=0.04)


def test_half_the_rows_a_pipeline_cost_llama_3_405b_what_its_authors_saw() -> None:
    """43 % MFU on 8,192 GPUs, 41 % on twice as many: fewer rows go through each pipeline, which waits for longer."""
    few, many = (each for each in PUBLISHED_SPEEDS if each.model == LLAMA3_405B)
    assert planned(many) / planned(few) == pytest.approx(400 / 430, abs=0.03)


def test_published_shapes_have_their_published_sizes() -> None:
    assert LLAMA3_70B.parameters() == pytest.approx(70.55e9, rel=0.001)
    assert LLAMA3_405B.parameters() == pytest.approx(405.85e9, rel=0.001)


def test_bytes_and_seconds_of_a_step_are_those_of_the_arithmetic() -> None:
    """Data parallel on one machine: each GPU passes on twice 7/8 of the fp32 gradients (Patarasuk & Yuan, 2009)."""
    model = PRESETS["llama3.2-1b"]
    step = plan_step(model, ROW, Layout(gpus=8, parallel="ddp"), H100)
    assert step.within == pytest.approx(2 * 7 / 8 * 4 * model.parameters())
    assert step.across == 0
    assert step.compute == pytest.approx(8192 * model.flops_per_token(8192) / (H100.flops * busy(model.width)))
    assert step.mfu == pytest.approx(step.compute / step.seconds * busy(model.width))
    assert step.tokens_per_second == pytest.approx(8192 / step.seconds)


def test_sharding_passes_on_the_weights_twice_and_the_gradients_once() -> None:
    step = plan_step(EIGHT_B, ROW, Layout(gpus=64), H100)
    assert step.within == 0
    assert step.across == pytest.approx(63 / 64 * (4 + 4 + 4) * EIGHT_B.parameters())
    once = plan_step(EIGHT_B, replace(ROW, micro_batches=4, regather=False), Layout(gpus=64), H100)
    assert once.across == pytest.approx(63 / 64 * (4 + 4) * EIGHT_B.parameters())


def test_the_usual_ways_gather_half_the_bytes_and_divide_the_output_layer() -> None:
    layout = Layout(gpus=64, tensor=8)
    ours, usual = plan_step(EIGHT_B, ROW, layout, H100), plan_step(EIGHT_B, ROW, replace(layout, ways=USUAL), H100)
    head = 6 * EIGHT_B.vocabulary * EIGHT_B.width / EIGHT_B.flops_per_token(8192)
    assert ours.compute / usual.compute == pytest.approx(1 + 7 * head)
    assert usual.across / ours.across == pytest.approx((2 + 2 + 4) / (4 + 4 + 4))
    assert usual.mfu > ours.mfu


def test_hybrid_sharding_stays_within_the_machine_but_for_a_share_of_the_gradients() -> None:
    step = plan_step(EIGHT_B, ROW, Layout(gpus=64, parallel="hybrid"), H100)
    assert step.within == pytest.approx(7 / 8 * 12 * EIGHT_B.parameters())
    assert step.across == pytest.approx(2 * 7 / 8 * 4 * EIGHT_B.parameters() / 8)


def test_a_ring_over_whole_machines_has_all_their_cards_and_one_gpu_of_each_has_its_own() -> None:
    whole, one_each = H100_CLUSTER.group(64), H100_CLUSTER.group(8, stride=8)
    assert (whole.nodes, one_each.nodes) == (8, 8)
    assert whole.bandwidth == H100_CLUSTER.nvlink  # eight cards of 47 GB/s are more than NVLink's 350
    assert one_each.bandwidth == H100_CLUSTER.nic
    # 1,024 ranks: 896 hops within machines and 127 between them
    assert H100_CLUSTER.group(1024).latency("all-gather") == pytest.approx(8.4e-6 + 896 * 3.4e-6 + 127 * 14e-6)
    assert H100_CLUSTER.group(1024).latency("all-reduce") < 1e-3  # along a tree


def test_at_1024_gpus_with_a_row_each_hybrid_sharding_is_faster_than_full_and_on_64_it_is_not() -> None:
    def speed(gpus: int, parallel: str) -> float:
        return plan_step(EIGHT_B, ROW, Layout(gpus=gpus, parallel=parallel), H100).tokens_per_second  # type: ignore[arg-type]

    assert speed(1024, "hybrid") > 1.1 * speed(1024, "fsdp")
    assert speed(64, "hybrid") < 1.02 * speed(64, "fsdp")


def test_below_the_least_tokens_the_exchange_shows_and_above_it_it_does_not() -> None:
    layout = Layout(gpus=1024)
    least = least_tokens(EIGHT_B, layout, H100)
    more, fewer = (plan_step(EIGHT_B, Load(rows=1, length=length), layout, H100) for length in (int(least * 1.2), int(least / 1.5)))
    assert more.hidden > 0.95
    assert fewer.hidden < 0.85


def test_a_load_fits_and_what_does_not_fit_is_refused() -> None:
    found = fitting_load(LLAMA3_70B, Layout(gpus=64), H100, rows=16, length=8192)
    assert found is not None
    assert found.rows * found.micro_batches == 16
    assert gpu_memory(LLAMA3_70B, found, Layout(gpus=64)).peak <= H100.usable
    assert (
        fitting_load(EIGHT_B, Layout(gpus=64, parallel="ddp"), H100, rows=8, length=8192) is None
    )  # 16 bytes a parameter and more


def test_tensor_parallelism_divides_the_state_and_not_what_lies_between_the_blocks() -> None:
    whole, eighth = (gpu_memory(EIGHT_B, ROW, Layout(gpus=8 * n, tensor=n)) for n in (1, 8))
    ends = EIGHT_B.parameters() - EIGHT_B.body_parameters()
    assert whole.weights == pytest.approx(4 * EIGHT_B.parameters() / 8, rel=0.01)
    assert eighth.weights == pytest.approx(4 * (EIGHT_B.body_parameters() / 8 + ends) / 8, rel=0.01)
    assert whole.activations / 8 < eighth.activations < whole.activations


def test_failures_are_those_of_llama_3_and_the_interval_is_youngs() -> None:
    assert pytest.approx(419) == 16_384 * 54 * 86_400 / SECONDS_BETWEEN_FAILURES
    run = failures(1024, saving=10.0, restart=300.0)
    assert run.interval == pytest.approx(sqrt(2 * 10.0 * run.between) - 10.0)
    assert run.lost <= min(failures(1024, saving=10.0, restart=300.0, interval=every).lost for every in (300.0, 10_000.0))
    assert failures(16_384, saving=5.0, restart=600.0).lost < 0.10  # its authors: more than 90 % of the time was effective


def test_the_critical_batch_is_of_the_size_that_llama_3_405b_took() -> None:
    critical = critical_batch(405e9, 15.6e12)
    assert critical == pytest.approx(16e6, rel=0.4)
    assert more_tokens(critical, critical) == 2
    assert slow_machine(128, 0.005) == pytest.approx(0.47, abs=0.01)


def test_a_scale_plan_is_made_without_loading_torch() -> None:
    code = "import sys, llm.training.published_speeds, llm.training.scale_limits\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
