"""Causal attention: torch's kernel, or blockwise where that one is slow."""

import torch
from torch import Tensor
from torch.nn import functional as F

from llm.models.blockwise import blocks_pay, blockwise


def attend(q: Tensor, k: Tensor, v: Tensor, *, start: int = 0, documents: Tensor | None = None, dropout: float = 0.0) -> Tensor:
    """What each query sees of the values up to its own place: (B, H, T, D).

    q (B, H, T, D) stand at the places `start` to `start + T` of k and v (B, H_kv, start + T, D); H is a multiple of H_kv.
    documents (B, T): ids of the documents packed into each row, where a token sees its own alone; only without a `start`.
    dropout: share of the attention that is left out.
    """
    T, S = q.shape[2], k.shape[2]
    k, v = _repeat(k, q.shape[1]), _repeat(v, q.shape[1])  # (B, H, S, D) twice
    if T == S and not dropout and blocks_pay(q):
        return blockwise(q, k, v, documents)
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
