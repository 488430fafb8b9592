"""Attention in halves is attention: what is never computed was masked anyway."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from llm.models import attention
from llm.models.attention import attend


def heads(T: int, n_kv_heads: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, n, T, 16, dtype=dtype, requires_grad=True) for n in (4, n_kv_heads, n_kv_heads))
    return q, k, v


@pytest.mark.parametrize("T", [128, 129])
@pytest.mark.parametrize("n_kv_heads", [4, 2])
def test_in_halves_a_token_sees_what_it_saw_and_learns_the_same(T: int, n_kv_heads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, slope = heads(T, n_kv_heads, torch.float32), torch.randn(2, 4, T, 16)
    whole = attend(*inputs)
    expected = torch.autograd.grad(whole, inputs, slope)
    monkeypatch.setattr(attention, "_halves_pay", lambda q: True)
    halves = attend(*inputs)
    torch.testing.assert_close(halves, whole)
    torch.testing.assert_close(torch.autograd.grad(halves, inputs, slope), expected)


def test_halves_are_for_training_in_bf16_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    real = F.scaled_dot_product_attention

    def counted(q: Tensor, *arguments: Any, **options: Any) -> Tensor:
        calls.append(q.shape[2])
        return real(q, *arguments, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", counted)
    attend(*heads(256, 4, torch.bfloat16))
    attend(*heads(256, 4, torch.float32))
    with torch.no_grad():
        attend(*heads(256, 4, torch.bfloat16))
    attend(*heads(64, 4, torch.bfloat16))
    assert calls == [128, 128, 256, 256, 64]
