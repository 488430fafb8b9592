"""GPT-2 (Radford et al., 2019): one file, top to bottom. B batch, T tokens, C width, H heads, D head width, V vocabulary."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llm.models.attention import attend
from llm.models.causal import CausalModel
from llm.models.config import GPT2Config
from llm.models.layers import KVCache


class Attention(nn.Module):
    """Causal self-attention; queries, keys and values come out of one matrix."""

    fused: ClassVar = {"qkv": 3}  # stacked by rows, for an optimizer that treats each matrix by itself

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.head_width, self.dropout = config.head_width, config.dropout
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor, layer: int, cache: KVCache | None, documents: Tensor | None) -> Tensor:
        B, T, _ = x.shape
        start = cache.length if cache else 0
        heads = self.qkv(x).view(B, T, -1, self.head_width).transpose(1, 2)  # (B, 3·H, T, D)
        q, k, v = heads.chunk(3, dim=1)  # (B, H, T, D) three times
        if cache:
            k, v = cache.append(layer, k, v)  # (B, H, start + T, D) twice
        y = attend(q, k, v, start=start, documents=documents, dropout=self.dropout if self.training else 0.0)  # (B, H, T, D)
        return self.out(y.transpose(1, 2).reshape(B, T, -1))  # (B, T, C)


class MLP(nn.Module):
    """One hidden layer with GELU (Hendrycks & Gimpel, 2016), in the approximation by tanh that GPT-2 was trained with."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.up = nn.Linear(config.width, config.hidden)
        self.down = nn.Linear(config.hidden, config.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x), approximate="tanh"))  # (B, T, hidden) within


class Block(nn.Module):
    """Attention and MLP, each after a norm and beside a residual path."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width, config.norm_epsilon)
        self.attention = Attention(config)
        self.mlp_norm = nn.LayerNorm(config.width, config.norm_epsilon)
        self.mlp = MLP(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, layer: int, cache: KVCache | None, documents: Tensor | None) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x), layer, cache, documents))
        return x + self.dropout(self.mlp(self.mlp_norm(x)))


class GPT2(CausalModel):
    """Token ids (B, T) in, logits (B, T, V) out. Freshly initialised; `llm.models.hub` loads weights."""

    config: GPT2Config

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Embedding(config.context_length, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.width, config.norm_epsilon)
        self.head = nn.Linear(config.width, config.vocabulary, bias=False)
        if config.tied:
            self.head.weight = self.embedding.weight
        self.initialise()

    def hidden(self, ids: Tensor, cache: KVCache | None = None, documents: Tensor | None = None) -> Tensor:
        places = torch.arange(ids.shape[1], device=ids.device) + (cache.length if cache else 0)  # (T)
        if documents is not None:
            places = places - _starts(documents)  # (B, T)
        x = self.dropout(self.embedding(ids) + self.positions(places))  # (B, T, C)
        for layer, block in enumerate(self.blocks):
            x = block(x, layer, cache, documents)
        if cache:
            cache.length += ids.shape[1]
        return self.norm(x)

    @torch.no_grad()
    def shorten(self, length: int) -> None:
        super().shorten(length)
        self.positions = nn.Embedding.from_pretrained(self.positions.weight[: self.config.context_length].clone(), freeze=False)


def _starts(documents: Tensor) -> Tensor:
    """For each token the place in its row where its document starts: (B, T)."""
    first = torch.ones_like(documents, dtype=torch.bool)
    first[:, 1:] = documents[:, 1:] != documents[:, :-1]
    places = torch.arange(documents.shape[1], device=documents.device).expand_as(documents)  # (B, T)
    return torch.where(first, places, 0).cummax(dim=1).values
