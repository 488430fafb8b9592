"""What is done to a model from outside changes neither what it learns nor what a checkpoint holds."""

import subprocess
import sys
from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from llm.models.build import new_model
from llm.models.causal import CausalModel
from llm.models.classifier import Classifier
from llm.models.presets import PRESETS
from llm.training.apply import apply, blocks_of
from llm.training.config import Checkpointing
from llm.training.float8 import Float8Product, suits
from llm.training.numerics import Numerics, no_compiler
from llm.training.optimizers import AdamW
from llm.training.step import NextToken, train_step

EAGER = Numerics.decide("fp32")


def trained(numerics: Numerics = EAGER, checkpointing: Checkpointing = "none", steps: int = 3) -> tuple[CausalModel, list[float]]:
    torch.manual_seed(0)
    batches, model = torch.randint(512, (steps, 4, 33)), new_model(PRESETS["llama-tiny"]).train()
    optimizer = AdamW(model.named_parameters(), weight_decay=0.1)
    apply(model, numerics, checkpointing)
    results = [
        train_step(model, NextToken(), [batch], optimizer, learning_rate=1e-2, gradient_clip=1.0, numerics=numerics)
        for batch in batches
    ]
    return model, [float(result.loss) for result in results]


def kept_for_backward(checkpointing: Checkpointing) -> int:
    """Bytes that a forward pass leaves for the backward pass, weights aside."""
    model = new_model(PRESETS["llama-tiny"]).train()
    apply(model, EAGER, checkpointing)
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden = model.hidden(torch.zeros(4, 64, dtype=torch.int64))
    assert hidden.requires_grad
    return sum(kept.values())


@pytest.mark.parametrize("checkpointing", ["selective", "full"])
def test_computing_activations_again_gives_the_same_bits(checkpointing: Checkpointing) -> None:
    (plain, losses), (saving, same) = trained(), trained(checkpointing=checkpointing)
    assert same == losses
    torch.testing.assert_close(saving.state_dict(), plain.state_dict(), rtol=0, atol=0)


def test_full_checkpointing_keeps_the_input_of_each_block_alone() -> None:
    assert kept_for_backward("full") < 0.2 * kept_for_backward("none")


@pytest.mark.slow
@pytest.mark.skipif(bool(no_compiler("cpu")), reason=no_compiler("cpu"))
@pytest.mark.parametrize("checkpointing", get_args(Checkpointing))
def test_compiled_blocks_learn_the_same_and_are_compiled_once_for_all(checkpointing: Checkpointing) -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    (plain, losses), (compiled, same) = trained(), trained(replace(EAGER, compile=True), checkpointing)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert same == pytest.approx(losses, rel=1e-5)
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    compiled.eval()  # decoding and looks have other shapes: nothing compiles for them
    compiled.hidden(torch.zeros(1, 5, dtype=torch.int64), compiled.cache(1, 8))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_the_blocks_of_a_classifier_are_found() -> None:
    body = new_model(PRESETS["llama-tiny"])
    assert list(blocks_of(Classifier(body, ["a", "b"]))) == list(body.blocks)


def test_an_eager_step_does_not_load_the_compiler() -> None:
    code = """
import sys, torch
from llm.models.build import new_model
from llm.models.presets import PRESETS
from llm.training.apply import apply
from llm.training.numerics import Numerics
from llm.training.optimizers import AdamW
from llm.training.step import NextToken, train_step
model, numerics = new_model(PRESETS["llama-tiny"]), Numerics.decide("fp32", compile="auto", flops=1e9)
apply(model, numerics)
optimizer = AdamW(model.named_parameters(), weight_decay=0.1)
batch = torch.zeros(2, 9, dtype=torch.int64)
train_step(model, NextToken(), [batch], optimizer, learning_rate=1.0, gradient_clip=1.0, numerics=numerics)
print([name for name in ("torch._dynamo", "torch._inductor", "sympy", "pydantic", "psutil", "transformers") if name in sys.modules])
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120).stdout
    assert found.strip() == "[]"


def test_float8_products_are_those_of_bf16_within_their_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    def exact(a: Tensor, b: Tensor, *, scale_a: Tensor, scale_b: Tensor, out_dtype: torch.dtype) -> Tensor:
        assert a.is_contiguous()
        assert b.T.is_contiguous()  # the hardware takes the second factor by columns alone
        return ((a.float() @ b.float()) * scale_a * scale_b).to(out_dtype)

    monkeypatch.setattr(torch, "_scaled_mm", exact)
    torch.manual_seed(0)
    x, weight = torch.randn(64, 128, requires_grad=True), torch.randn(32, 128, requires_grad=True)
    slope = torch.randn(64, 32)
    Float8Product.apply(x, weight).backward(slope.bfloat16())  # type: ignore[no-untyped-call]
    for found, true in ((x.grad, slope @ weight.detach()), (weight.grad, slope.T @ x.detach())):
        assert found is not None
        assert float((found - true).norm() / true.norm()) < 0.1


def test_small_or_odd_layers_stay_out_of_float8() -> None:
    assert suits(nn.Linear(4096, 1024))
    assert not suits(nn.Linear(4096, 512))
    assert not suits(nn.Linear(4100, 1024))
