"""Causal attention for training in bf16 on a CPU: a block of queries after the other, by batched matrix products.

With torch's kernel a quarter of a step is spent there, most of it going back. Here each block meets the keys up to its end
alone; the backward pass computes the scores again, which costs less than to keep them. It is an operator of its own, since the
compiler would unroll it and be slower.
"""

from typing import Any, Final

import torch
from torch import Tensor

_BLOCK: Final = 64  # queries at a time


def blocks_pay(q: Tensor) -> bool:
    """Training in bf16 on a CPU: 1.5 times as fast as torch's kernel in rows of 256, 3 to 4 times in rows of 48 and 100."""
    training = torch.is_grad_enabled() and q.requires_grad
    return training and q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.shape[2] >= _BLOCK // 2


@torch.library.custom_op("slipway::blockwise_attention", mutates_args=())
def blockwise(q: Tensor, k: Tensor, v: Tensor, documents: Tensor | None) -> Tensor:
    """What each query sees of the values up to its own place, all (B, H, T, D); documents (B, T) as `attend` takes them."""
    heads = q.shape[1]
    q, k, v = (x.flatten(0, 1) for x in (q * q.shape[-1] ** -0.5, k, v))  # (B·H, T, D) each
    out = torch.empty_like(v)
    for first, end in _blocks(q):
        out[:, first:end] = torch.bmm(_shares(q, k, documents, first, end), v[:, :end])
    return out.unflatten(0, (-1, heads))


@torch.library.custom_op("slipway::blockwise_attention_backward", mutates_args=())
def _blockwise_backward(slope: Tensor, q: Tensor, k: Tensor, v: Tensor, documents: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """What the result's gradient (B, H, T, D) is for queries, keys and values."""
    heads, scale = q.shape[1], q.shape[-1] ** -0.5
    slope, q, k, v = (x.flatten(0, 1) for x in (slope, q * scale, k, v))  # (B·H, T, D) each
    to_q, to_k, to_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
    for first, end in _blocks(q):
        shares, given = _shares(q, k, documents, first, end), slope[:, first:end]
        to_v[:, :end] += torch.bmm(shares.mT, given)
        of_shares = torch.bmm(given, v[:, :end].mT)  # (B·H, n, end)
        of_scores = torch._softmax_backward_data(of_shares, shares, -1, shares.dtype)
        to_q[:, first:end] = torch.bmm(of_scores, k[:, :end])
        to_k[:, :end] += torch.bmm(of_scores.mT, q[:, first:end])
    to_q *= scale
    return to_q.unflatten(0, (-1, heads)), to_k.unflatten(0, (-1, heads)), to_v.unflatten(0, (-1, heads))


@blockwise.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, documents: Tensor | None) -> Tensor:
    return v.new_empty(v.shape)


@_blockwise_backward.register_fake
def _(slope: Tensor, q: Tensor, k: Tensor, v: Tensor, documents: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _kept(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, Tensor | None], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
    return *_blockwise_backward(slope, *ctx.saved_tensors), None


blockwise.register_autograd(_backward, setup_context=_kept)
OPERATOR: Final = torch.ops.slipway.blockwise_attention.default


def _blocks(q: Tensor) -> list[tuple[int, int]]:
    """The first query of each block, and that after its last."""
    T = q.shape[1]
    return [(first, min(first + _BLOCK, T)) for first in range(0, T, _BLOCK)]


def _shares(q: Tensor, k: Tensor, documents: Tensor | None, first: int, end: int) -> Tensor:
    """How much queries (B·H, T, D) from `first` to `end`, scaled already, take of each value up to `end`: (B·H, n, end)."""
    scores = torch.bmm(q[:, first:end], k[:, :end].mT)  # (B·H, n, end)
    n = end - first
    scores[:, :, first:] += scores.new_full((n, n), float("-inf")).triu(1)
    if documents is not None:
        apart = documents[:, None, first:end, None] != documents[:, None, None, :end]  # (B, 1, n, end)
        scores = scores.unflatten(0, (len(documents), -1)).masked_fill(apart, float("-inf")).flatten(0, 1)
    return scores.softmax(dim=-1)
