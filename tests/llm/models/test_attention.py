"""Attention block by block is attention: in what it gives, in what is learnt, and with documents packed into a row."""

import pytest
import torch
from torch import Tensor

from llm.models import attention
from llm.models.attention import attend


def inputs(T: int, n_kv_heads: int = 4, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    torch.manual_seed(0)
    shapes = [(2, 4, T, 16), (2, n_kv_heads, T, 16), (2, n_kv_heads, T, 16)]
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("n_kv_heads", [4, 2])
@pytest.mark.parametrize("T", [2, 63, 64, 65, 200])
def test_block_by_block_a_token_sees_what_it_saw_and_learns_the_same(
    T: int, n_kv_heads: int, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = inputs(T, n_kv_heads)
    documents = (torch.arange(T).expand(2, T) // 30 + torch.tensor([[0], [7]])) if packed else None
    whole = attend(*given, documents=documents)
    slope = torch.randn_like(whole)
    expected = torch.autograd.grad(whole, given, slope)
    monkeypatch.setattr(attention, "blocks_pay", lambda q: True)
    blocks = attend(*given, documents=documents)
    assert "blockwise" in type(blocks.grad_fn).__name__
    torch.testing.assert_close(blocks, whole)
    torch.testing.assert_close(torch.autograd.grad(blocks, given, slope), expected)


def test_in_bf16_it_is_as_near_to_exact_attention_as_torchs_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    given = inputs(200, dtype=torch.bfloat16)
    slope = torch.randn(2, 4, 200, 16)
    exact_inputs = [each.detach().float().requires_grad_() for each in given]
    exact = attend(*exact_inputs)
    exact_all = [exact, *torch.autograd.grad(exact, exact_inputs, slope)]

    def errors() -> list[float]:
        found = attend(*given)
        gradients = torch.autograd.grad(found, given, slope.bfloat16())
        return [float((ours - theirs).detach().abs().mean()) for ours, theirs in zip([found, *gradients], exact_all, strict=True)]

    ours = errors()
    monkeypatch.setattr(attention, "blocks_pay", lambda q: False)
    assert all(mine < 2 * theirs for mine, theirs in zip(ours, errors(), strict=True))


def test_blocks_are_for_training_in_bf16_alone() -> None:
    def kind(given: list[Tensor]) -> str:
        return type(attend(*given).grad_fn).__name__

    assert "blockwise" in kind(inputs(64, dtype=torch.bfloat16))
    assert "blockwise" not in kind(inputs(64))
    assert "blockwise" not in kind(inputs(16, dtype=torch.bfloat16))
    with torch.no_grad():
        assert kind(inputs(64, dtype=torch.bfloat16)) == "NoneType"


def test_compiled_it_gives_the_same() -> None:
    given = inputs(100, dtype=torch.bfloat16)
    eager = attend(*given)
    compiled = torch.compile(attend, backend="aot_eager")(*given)
    torch.testing.assert_close(compiled, eager)
    slope = torch.randn_like(eager)
    pairs = zip(torch.autograd.grad(compiled, given, slope), torch.autograd.grad(eager, given, slope), strict=True)
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs)
