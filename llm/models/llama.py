"""Llama (Touvron et al., 2023): one file, top to bottom. B batch, T tokens, C width, H heads, D head width, V vocabulary."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llm.models.config import LlamaConfig
from llm.models.layers import KVCache, RMSNorm, Rope


class Attention(nn.Module):
    """Causal self-attention with grouped queries (Ainslie et al., 2023) and rotary positions (Su et al., 2021)."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.n_heads, self.n_kv_heads, self.head_width = config.n_heads, config.n_kv_heads, config.head_width
        self.q = nn.Linear(config.width, config.n_heads * config.head_width, bias=False)
        self.k = nn.Linear(config.width, config.n_kv_heads * config.head_width, bias=False)
        self.v = nn.Linear(config.width, config.n_kv_heads * config.head_width, bias=False)
        self.out = nn.Linear(config.n_heads * config.head_width, config.width, bias=False)

    def forward(self, x: Tensor, rope: Rope, layer: int, cache: KVCache | None) -> Tensor:
        B, T, _ = x.shape
        start = cache.length if cache else 0
        q = rope(self.q(x).view(B, T, self.n_heads, self.head_width).transpose(1, 2), start)  # (B, H, T, D)
        k = rope(self.k(x).view(B, T, self.n_kv_heads, self.head_width).transpose(1, 2), start)  # (B, H_kv, T, D)
        v = self.v(x).view(B, T, self.n_kv_heads, self.head_width).transpose(1, 2)  # (B, H_kv, T, D)
        if cache:
            k, v = cache.append(layer, k, v)  # (B, H_kv, start + T, D) twice
        k, v = self._repeat(k), self._repeat(v)  # (B, H, start + T, D) twice
        if start and T > 1:
            mask = torch.ones(T, start + T, dtype=torch.bool, device=x.device).tril(diagonal=start)  # (T, start + T)
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        else:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=T > 1)
        return self.out(y.transpose(1, 2).reshape(B, T, -1))  # (B, T, C)

    def _repeat(self, x: Tensor) -> Tensor:
        """Each key-value head for every query head of its group: faster on a CPU than SDPA's own `enable_gqa`."""
        group = self.n_heads // self.n_kv_heads
        return x if group == 1 else x.repeat_interleave(group, dim=1)


class MLP(nn.Module):
    """SwiGLU (Shazeer, 2020)."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.width, config.hidden, bias=False)
        self.up = nn.Linear(config.width, config.hidden, bias=False)
        self.down = nn.Linear(config.hidden, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    """Attention and MLP, each after a norm and beside a residual path."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.width, config.norm_epsilon)
        self.attention = Attention(config)
        self.mlp_norm = RMSNorm(config.width, config.norm_epsilon)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, rope: Rope, layer: int, cache: KVCache | None) -> Tensor:
        x = x + self.attention(self.attention_norm(x), rope, layer, cache)
        return x + self.mlp(self.mlp_norm(x))


class Llama(nn.Module):
    """Token ids (B, T) in, logits (B, T, V) out. Freshly initialised; `llm.models.hub` loads weights."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = RMSNorm(config.width, config.norm_epsilon)
        self.head = nn.Linear(config.width, config.vocabulary, bias=False)
        self.rope = Rope(config.head_width, config.context_length, config.rope_base)
        if config.tied:
            self.head.weight = self.embedding.weight
        self.initialise()

    @torch.no_grad()
    def initialise(self, seed: int = 0) -> None:
        """All weights anew: normal with deviation 0.02; what writes into the residual path is smaller by sqrt(2 · layers).

        Radford et al., 2019.
        """
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 1:
                parameter.fill_(1.0)
                continue
            residual = name.endswith(("attention.out.weight", "mlp.down.weight"))
            parameter.normal_(std=0.02 / math.sqrt(2 * self.config.n_layers) if residual else 0.02, generator=generator)

    def forward(self, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        return self.head(self.hidden(ids, cache))  # (B, T, V)

    def hidden(self, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        """What the output layer reads: (B, T, C)."""
        x = self.embedding(ids)  # (B, T, C)
        for layer, block in enumerate(self.blocks):
            x = block(x, self.rope, layer, cache)
        if cache:
            cache.length += ids.shape[1]
        return self.norm(x)

    def cache(self, batch: int, max_length: int) -> KVCache:
        """An empty cache for `batch` rows of up to `max_length` tokens."""
        config = self.config
        return KVCache(config.n_layers, batch, config.n_kv_heads, max_length, config.head_width, self.embedding.weight.detach())
