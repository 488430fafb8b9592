"""What every causal model offers, whatever its family: training, decoding, finetuning and serving ask for nothing more."""

import math
from abc import ABC, abstractmethod
from dataclasses import replace

import torch
from torch import Tensor, nn

from llm.models.config import CausalConfig
from llm.models.layers import KVCache, RMSNorm


class CausalModel(nn.Module, ABC):
    """Token ids (B, T) in, logits (B, T, V) out. Freshly initialised; `llm.models.hub` loads weights.

    A family builds the parts below and says what `hidden` does. Names that a checkpoint, an optimizer or an export relies on:
    `attention.out` and `mlp.down` of a block write into the residual path.
    """

    config: CausalConfig
    embedding: nn.Embedding
    blocks: nn.ModuleList
    norm: RMSNorm | nn.LayerNorm
    head: nn.Linear

    @abstractmethod
    def hidden(self, ids: Tensor, cache: KVCache | None = None, documents: Tensor | None = None) -> Tensor:
        """What the output layer reads: (B, T, C).

        cache: keys and values of the tokens before these; takes in those of `ids`.
        documents (B, T): ids of the documents packed into each row: a token sees its own alone, as if it stood by itself.
        """

    def forward(self, ids: Tensor, cache: KVCache | None = None, documents: Tensor | None = None) -> Tensor:
        return self.head(self.hidden(ids, cache, documents))  # (B, T, V)

    def cache(self, batch: int, max_length: int) -> KVCache:
        """An empty cache for `batch` rows of up to `max_length` tokens."""
        config = self.config
        return KVCache(config.n_layers, batch, config.n_kv_heads, max_length, config.head_width, self.embedding.weight.detach())

    @torch.no_grad()
    def initialise(self, seed: int = 0) -> None:
        """All weights anew: normal with deviation 0.02; what writes into the residual path is smaller by sqrt(2 · layers).

        Norms start at one, biases at zero. Radford et al., 2019.
        """
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 1:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
                continue
            residual = name.endswith(("attention.out.weight", "mlp.down.weight"))
            parameter.normal_(std=0.02 / math.sqrt(2 * self.config.n_layers) if residual else 0.02, generator=generator)

    def shorten(self, length: int) -> None:
        """From now on a model of `length` tokens at most, if it was one of more."""
        self.config = replace(self.config, context_length=min(length, self.config.context_length))

    def flops_per_token(self, length: int) -> int:
        """FLOPs of one training token, forward and backward, in rows of `length` tokens."""
        return self.config.flops_per_token(length)

    def kv_bytes_per_token(self) -> int:
        """Memory of the keys and values that decoding keeps for each token, in the model's own precision."""
        return self.config.kv_bytes_per_token(self.embedding.weight.element_size())
