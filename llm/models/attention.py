"""Causal attention: torch's kernel, and for training in bf16 on a CPU, where that one is slow, a blockwise one of our own."""

from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F

_BLOCK: Final = 64  # queries at a time


def attend(q: Tensor, k: Tensor, v: Tensor, *, start: int = 0, documents: Tensor | None = None, dropout: float = 0.0) -> Tensor:
    """What each query sees of the values up to its own place: (B, H, T, D).

    q (B, H, T, D) stand at the places `start` to `start + T` of k and v (B, H_kv, start + T, D); H is a multiple of H_kv.
    documents (B, T): ids of the documents packed into each row, where a token sees its own alone; only without a `start`.
    dropout: share of the attention that is left out.
    """
    T, S = q.shape[2], k.shape[2]
    k, v = _repeat(k, q.shape[1]), _repeat(v, q.shape[1])  # (B, H, S, D) twice
    if T == S and not dropout and _blocks_pay(q):
        return _blockwise(q, k, v, documents)
    if documents is not None:
        assert not start, "packed documents are read at once"
        mask = (documents[:, None, :, None] == documents[:, None, None, :]).tril()  # (B, 1, T, T)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
    if start and T > 1:
        mask = torch.ones(T, S, dtype=torch.bool, device=q.device).tril(diagonal=start)  # (T, S)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
    return F.scaled_dot_product_attention(q, k, v, is_causal=T > 1, dropout_p=dropout)


def _repeat(x: Tensor, n_heads: int) -> Tensor:
    """Each key-value head for every query head of its group: faster on a CPU than SDPA's own `enable_gqa`."""
    group = n_heads // x.shape[1]
    return x if group == 1 else x.repeat_interleave(group, dim=1)


def _blocks_pay(q: Tensor) -> bool:
    """Training in bf16 on a CPU: 1.5 times as fast as torch's kernel in rows of 256, 3 to 4 times in rows of 48 and 100."""
    training = torch.is_grad_enabled() and q.requires_grad
    return training and q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.shape[2] >= _BLOCK // 2


@torch.library.custom_op("slipway::blockwise_attention", mutates_args=())
def _blockwise(q: Tensor, k: Tensor, v: Tensor, documents: Tensor | None) -> Tensor:
    """Causal attention of a block of queries after the other, each over the keys up to its end, by batched matrix products.

    Scores are kept in neither direction: the backward pass computes them again, which costs less than to move them. An operator
    of its own, since the compiler would unroll it and make it slower.
    """
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


@_blockwise.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, documents: Tensor | None) -> Tensor:
    return v.new_empty(v.shape)


@_blockwise_backward.register_fake
def _(slope: Tensor, q: Tensor, k: Tensor, v: Tensor, documents: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _kept(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, Tensor | None], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
    return *_blockwise_backward(slope, *ctx.saved_tensors), None


_blockwise.register_autograd(_backward, setup_context=_kept)


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
