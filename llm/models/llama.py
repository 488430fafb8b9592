"""Llama (Touvron et al., 2023): one file, top to bottom. B batch, T tokens, C width, H heads, D head width, V vocabulary."""

from torch import Tensor, nn
from torch.nn import functional as F

from llm.models.attention import attend
from llm.models.causal import CausalModel
from llm.models.config import LlamaConfig
from llm.models.layers import KVCache, RMSNorm, Rope


class Attention(nn.Module):
    """Causal self-attention with grouped queries (Ainslie et al., 2023) and rotary positions (Su et al., 2021)."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.head_width = config.head_width
        queries, keys = config.n_heads * config.head_width, config.n_kv_heads * config.head_width
        self.q = nn.Linear(config.width, queries, bias=config.qkv_bias)
        self.k = nn.Linear(config.width, keys, bias=config.qkv_bias)
        self.v = nn.Linear(config.width, keys, bias=config.qkv_bias)
        self.out = nn.Linear(queries, config.width, bias=False)
        self.q_norm = RMSNorm(config.head_width, config.norm_epsilon) if config.qk_norm else nn.Identity()
        self.k_norm = RMSNorm(config.head_width, config.norm_epsilon) if config.qk_norm else nn.Identity()

    def forward(self, x: Tensor, rope: Rope, layer: int, cache: KVCache | None, documents: Tensor | None) -> Tensor:
        B, T, _ = x.shape
        start = cache.length if cache else 0
        q = rope(self.q_norm(self.q(x).view(B, T, -1, self.head_width)).transpose(1, 2), start)  # (B, H, T, D)
        k = rope(self.k_norm(self.k(x).view(B, T, -1, self.head_width)).transpose(1, 2), start)  # (B, H_kv, T, D)
        v = self.v(x).view(B, T, -1, self.head_width).transpose(1, 2)  # (B, H_kv, T, D)
        if cache:
            k, v = cache.append(layer, k, v)  # (B, H_kv, start + T, D) twice
        y = attend(q, k, v, start=start, documents=documents)  # (B, H, T, D)
        return self.out(y.transpose(1, 2).reshape(B, T, -1))  # (B, T, C)


class MLP(nn.Module):
    """SwiGLU (Shazeer, 2020)."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.width, config.hidden, bias=False)
        self.up = nn.Linear(config.width, config.hidden, bias=False)
        self.down = nn.Linear(config.hidden, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))  # (B, T, hidden) within


class Block(nn.Module):
    """Attention and MLP, each after a norm and beside a residual path."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.width, config.norm_epsilon)
        self.attention = Attention(config)
        self.mlp_norm = RMSNorm(config.width, config.norm_epsilon)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, rope: Rope, layer: int, cache: KVCache | None, documents: Tensor | None) -> Tensor:
        x = x + self.attention(self.attention_norm(x), rope, layer, cache, documents)
        return x + self.mlp(self.mlp_norm(x))


class Llama(CausalModel):
    """Token ids (B, T) in, logits (B, T, V) out. Freshly initialised; `llm.models.hub` loads weights."""

    config: LlamaConfig

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = RMSNorm(config.width, config.norm_epsilon)
        self.head = nn.Linear(config.width, config.vocabulary, bias=False)
        self.rope = Rope(config.head_width, config.context_length, config.rope_base, config.rope_scaling)
        if config.tied:
            self.head.weight = self.embedding.weight
        self.initialise()

    def hidden(self, ids: Tensor, cache: KVCache | None = None, documents: Tensor | None = None) -> Tensor:
        """What the output layer reads: (B, T, C). Documents need no places of their own: rotary ones are relative."""
        x = self.embedding(ids)  # (B, T, C)
        for layer, block in enumerate(self.blocks):
            x = block(x, self.rope, layer, cache, documents)
        if cache:
            cache.length += ids.shape[1]
        return self.norm(x)
