"""The training step: micro-batches weigh as one large batch, the update is AdamW's, schedules are functions of the step."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from llm.models.build import new_model
from llm.models.causal import CausalModel
from llm.models.presets import PRESETS
from llm.training.config import OptimizerName, TrainingConfig
from llm.training.numerics import Numerics
from llm.training.optimizers import AdamW, make_optimizer
from llm.training.schedules import warmup_stable_decay
from llm.training.step import NextToken, StepResult, train_step

FP32 = Numerics.decide("fp32")


def one_step(micro_batches: int, clip: float = 0.0) -> tuple[CausalModel, float, float]:
    torch.manual_seed(0)
    batch = torch.randint(512, (8, 33))
    model = new_model(PRESETS["llama-tiny"])
    optimizer = AdamW(model.named_parameters(), weight_decay=0.1)
    result = train_step(
        model, NextToken(), batch.chunk(micro_batches), optimizer, learning_rate=1e-2, gradient_clip=clip, numerics=FP32
    )
    return model, float(result.loss), float(result.gradient_norm)


@pytest.mark.parametrize("micro_batches", [2, 4, 8])
def test_micro_batches_give_the_update_of_one_large_batch(micro_batches: int) -> None:
    (whole, loss, norm), (parts, parts_loss, parts_norm) = one_step(1), one_step(micro_batches)
    assert parts_loss == pytest.approx(loss, rel=1e-6)
    assert parts_norm == pytest.approx(norm, rel=1e-5)
    # Adam's first update has the size of the learning rate whatever the gradient: rounding shows where a gradient is near zero
    apart = torch.cat([(a - b).abs().flatten() for a, b in zip(whole.parameters(), parts.parameters(), strict=True)])
    assert float(apart.detach().quantile(0.999)) < 1e-4


def test_the_update_is_that_of_torchs_adamw() -> None:
    torch.manual_seed(0)
    batches = torch.randint(512, (5, 4, 33))
    ours, theirs = new_model(PRESETS["llama-tiny"]), new_model(PRESETS["llama-tiny"])
    optimizer = AdamW(ours.named_parameters(), weight_decay=0.1)
    decayed = [parameter for parameter in theirs.parameters() if parameter.ndim >= 2]
    others = [parameter for parameter in theirs.parameters() if parameter.ndim < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), eps=1e-8, fused=True)
    for batch in batches:
        train_step(ours, NextToken(), [batch], optimizer, learning_rate=1e-3, gradient_clip=1.0, numerics=FP32)
        (NextToken().loss(theirs, batch) / NextToken().count(batch)).backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        reference.step()
        reference.zero_grad()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_a_long_gradient_is_clipped_and_its_true_length_reported() -> None:
    assert one_step(1, clip=0.01)[2] == pytest.approx(one_step(1)[2])


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_a_gradient_that_is_not_finite_changes_nothing_and_says_so(bad: float) -> None:
    torch.manual_seed(0)
    batches, model = torch.randint(512, (3, 2, 17)), new_model(PRESETS["llama-tiny"])
    optimizer = AdamW(model.named_parameters(), weight_decay=0.1)

    def step(batch: Tensor) -> StepResult:
        return train_step(model, NextToken(), [batch], optimizer, learning_rate=1e-2, gradient_clip=1.0, numerics=FP32)

    assert float(step(batches[0]).skipped) == 0.0
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    state = {name: value.clone() for name, value in optimizer.state().items()}

    def spoilt_slope(module: nn.Module, inputs: Any, outputs: Any) -> Any:
        return (inputs[0] * bad, *inputs[1:])

    spoil = model.blocks[1].register_full_backward_hook(spoilt_slope)
    spoilt = step(batches[1])
    assert float(spoilt.skipped) == 1.0
    assert torch.isfinite(spoilt.loss)
    assert not torch.isfinite(spoilt.gradient_norm)
    torch.testing.assert_close(model.state_dict(), weights, rtol=0, atol=0)
    torch.testing.assert_close(optimizer.state(), state, rtol=0, atol=0)
    spoil.remove()
    assert float(step(batches[2]).skipped) == 0.0
    assert float(optimizer.state()["updates"]) == 2.0


@pytest.mark.parametrize("name", ["llama-tiny", "gpt2-tiny"])
def test_packed_documents_learn_as_if_each_stood_alone(name: str) -> None:
    torch.manual_seed(0)
    model, start = new_model(PRESETS[name]), 7
    first, second = torch.randint(8, 512, (1, 12)), torch.randint(8, 512, (1, 20))
    first[0, 0] = second[0, 0] = start
    whole = NextToken(start).loss(model, torch.cat((first, second), dim=1))
    between = NextToken().loss(model, torch.cat((first, second[:, :1]), dim=1)) - NextToken().loss(model, first)
    torch.testing.assert_close(whole, NextToken().loss(model, first) + between + NextToken().loss(model, second))
    assert not torch.isclose(whole, NextToken().loss(model, torch.cat((first, second), dim=1)), rtol=1e-5)


def test_the_loss_of_a_memorised_batch_goes_to_zero() -> None:
    torch.manual_seed(0)
    batch, model = torch.randint(512, (2, 17)), new_model(PRESETS["llama-tiny"])
    optimizer = AdamW(model.named_parameters(), weight_decay=0.0)
    losses = [
        float(train_step(model, NextToken(), [batch], optimizer, learning_rate=1e-2, gradient_clip=1.0, numerics=FP32).loss)
        for _ in range(60)
    ]
    assert losses[0] > 6
    assert losses[-1] < 0.05


@pytest.mark.parametrize("spike_above", [(1.0, math.inf), (math.inf, 1e-3)])
@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_step_above_its_limit_changes_nothing_and_says_so(name: OptimizerName, spike_above: tuple[float, float]) -> None:
    torch.manual_seed(0)
    batch, model = torch.randint(512, (2, 17)), new_model(PRESETS["llama-tiny"])
    optimizer = make_optimizer(name, model, weight_decay=0.1)
    for limits, skipped in (((math.inf, math.inf), 0), (spike_above, 1)):
        before = [value.clone() for value in (*model.state_dict().values(), *optimizer.state().values())]
        result = train_step(
            model,
            NextToken(),
            [batch],
            optimizer,
            learning_rate=1e-2,
            gradient_clip=1.0,
            numerics=FP32,
            spike_above=limits,
            stop=bool(skipped),
        )
        now = [*model.state_dict().values(), *optimizer.state().values()]
        assert all(map(torch.equal, before, now)) == bool(skipped)
        assert (float(result.skipped), float(result.stop)) == (skipped, skipped)


def test_the_learning_rate_rises_stays_and_falls_to_almost_nothing() -> None:
    rates = [warmup_stable_decay(step, 100, peak=1.0, warmup_share=0.1, decay_share=0.4) for step in range(100)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10:60] == [1.0] * 50
    assert all(a > b for a, b in pairwise(rates[60:]))
    assert 0 < rates[-1] < 0.03
    assert warmup_stable_decay(0, 1, peak=1.0, warmup_share=0.03, decay_share=0.5) == 1.0


@pytest.mark.parametrize(
    ("config", "steps"),
    [
        (TrainingConfig(steps=7), 7),
        (TrainingConfig(epochs=2.0, batch_size=10, sequence_length=100), 20),
        (TrainingConfig(tokens_per_parameter=20.0, batch_size=10, sequence_length=100), 100),
    ],
)
def test_three_ways_to_say_how_long(config: TrainingConfig, steps: int) -> None:
    assert config.problems() == []
    assert config.total_steps(parameters=5_000, training_tokens=10_000) == steps


def test_all_that_is_wrong_with_a_configuration_is_said_at_once() -> None:
    problems = TrainingConfig(steps=5, epochs=1.0, batch_size=0, learning_rate=-1.0, warmup_share=0.6, decay_share=0.6).problems()
    assert len(problems) == 4
    assert "training.batch_size is 0, it must be at least 1" in problems
