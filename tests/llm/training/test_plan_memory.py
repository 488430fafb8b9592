"""What a plan says a step takes is what a real step takes: the count of every tensor alive, operation by operation, on a CPU."""

from dataclasses import replace

import pytest
import torch

from llm.models.presets import PRESETS, preset
from llm.training.config import Checkpointing, OptimizerName, TrainingConfig
from llm.training.footprint import bytes_of, peak_bytes
from llm.training.loss import LOGITS_AT_ONCE
from llm.training.muon import _BATCH_ELEMENTS
from llm.training.plan_memory import _LOGITS_AT_ONCE, _MUON_BATCH, Memory, StepShape, memory, whole_logits_bytes
from llm.training.rate import measure_peak


def planned_and_measured(
    name: str,
    rows: int,
    length: int,
    precision: str,
    optimizer: OptimizerName = "adamw",
    checkpointing: Checkpointing = "none",
    micro_batch_size: int = 0,
) -> tuple[Memory, int]:
    model = preset(name, vocabulary=PRESETS[name].vocabulary, context_length=length)
    training = TrainingConfig(
        steps=1,
        batch_size=rows,
        sequence_length=length,
        precision=precision,  # type: ignore[arg-type]
        optimizer=optimizer,
        activation_checkpointing=checkpointing,
        micro_batch_size=micro_batch_size,
    )
    return memory(model, StepShape.of(training, precision, 1)), measure_peak(model, training)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "rows", "length", "precision", "others"),
    [
        ("llama-tiny", 16, 64, "fp32", {}),
        ("llama-tiny", 16, 64, "bf16", {}),
        ("llama-tiny", 3, 40, "fp32", {}),
        ("llama-tiny", 1, 64, "fp32", {"optimizer": "muon"}),
        ("llama-tiny", 16, 64, "fp32", {"micro_batch_size": 4}),
        ("llama-tiny", 16, 64, "fp32", {"checkpointing": "selective"}),
        ("llama-tiny", 16, 64, "bf16", {"checkpointing": "full"}),
        ("gpt2-tiny", 16, 64, "fp32", {}),
        ("gpt2-tiny", 16, 64, "bf16", {"checkpointing": "selective"}),
        ("gpt2-tiny", 16, 64, "fp32", {"checkpointing": "full"}),
        ("llama-5m", 1, 64, "bf16", {}),
        ("gpt2-10m", 2, 128, "fp32", {}),
    ],
)
def test_the_planned_memory_is_within_15_percent_of_a_real_step(
    name: str, rows: int, length: int, precision: str, others: dict[str, object]
) -> None:
    planned, measured = planned_and_measured(name, rows, length, precision, **others)  # type: ignore[arg-type]
    assert planned.peak == pytest.approx(measured, rel=0.15)
    assert planned.peak - planned.before == pytest.approx(measured - planned.before, rel=0.15), "without the weights too"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rows", "length", "precision", "others"),
    [
        ("llama-5m", 4, 256, "fp32", {}),
        ("llama-5m", 4, 64, "bf16", {"micro_batch_size": 2}),
        ("llama-14m", 8, 256, "fp32", {}),
        ("llama-14m", 2, 256, "bf16", {}),
        ("llama-14m", 8, 256, "bf16", {"checkpointing": "selective"}),
        ("llama-14m", 1, 64, "fp32", {"optimizer": "muon"}),
        ("gpt2-10m", 2, 256, "bf16", {}),
        ("gpt2-10m", 2, 256, "bf16", {"checkpointing": "full"}),
    ],
)
def test_the_planned_memory_is_right_for_the_models_of_a_cpu_too(
    name: str, rows: int, length: int, precision: str, others: dict[str, object]
) -> None:
    planned, measured = planned_and_measured(name, rows, length, precision, **others)  # type: ignore[arg-type]
    assert planned.peak == pytest.approx(measured, rel=0.15)


def test_the_highest_count_is_that_of_what_was_alive_together() -> None:
    def work() -> None:
        first = torch.ones(1000)  # 4,000 bytes
        second = first * 2  # 8,000 together
        view = second[:500]
        del first, second
        third = torch.ones(500, dtype=torch.float64)  # the view holds 4,000, with this 8,000
        assert len(view) + len(third) == 1000

    assert peak_bytes(work, torch.device("cpu")) == 8000
    kept = torch.ones(10)
    assert bytes_of({"a": kept, "b": [kept[:5], torch.ones(1)]}) == 44


def test_the_plan_knows_the_limits_of_the_code_that_it_counts() -> None:
    assert (_LOGITS_AT_ONCE, _MUON_BATCH) == (LOGITS_AT_ONCE, _BATCH_ELEMENTS)


def test_each_lever_lowers_what_it_is_for() -> None:
    model = preset("llama3-8b", vocabulary=128_256, context_length=8192)
    shape = StepShape(rows=8, length=8192)
    plain = memory(model, shape)
    assert plain.weights == pytest.approx(4 * model.parameters(), rel=0.001)
    assert plain.optimizer == 8 * model.parameters()
    assert plain.when == "the loss"
    assert plain.logits < 50e6 < whole_logits_bytes(model, shape)
    full, selective = (memory(model, replace(shape, checkpointing=kind)) for kind in ("full", "selective"))
    assert full.activations < 0.1 * plain.activations
    assert full.peak < selective.peak < plain.peak
    assert memory(model, replace(shape, rows=2, micro_batches=4)).activations == plain.activations // 4
    sharded = memory(model, replace(shape, shards=8, workers=8))
    assert (sharded.optimizer, sharded.gradients) == (plain.optimizer // 8, plain.gradients // 8)
    assert memory(model, replace(shape, optimizer="muon")).optimizer < plain.optimizer
    assert memory(model, replace(shape, rows=1, checkpointing="full", workers=2)).when == "adding up the workers' gradients"
