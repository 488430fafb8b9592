"""Decoding apart from training: a copy of a model's weights in bf16 or int8, and one step that reads each of them once.

A decoder is asked as the model is: `decoder(ids, cache=cache)`. Weights are rounded once; everything computed with them on a CPU is
fp32, keys and values are kept in bf16. A long prompt goes through torch's matrix products, the rest through the C++ step, which
a machine without a compiler, or with a GPU, replaces by torch. Shapes: B batch, T tokens, C width, H heads, D head width.
"""

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llm.models import decoding_kernel, gpt2, llama
from llm.models.attention import attend
from llm.models.causal import CausalModel
from llm.models.config import CausalConfig
from llm.models.layers import KVCache, RMSNorm, Rope

Precision = Literal["bf16", "int8"]
_ROWS: Final = 16  # tokens that the C++ step takes at once, of all sequences
_SHORT: Final = 64  # of a longer prompt's tokens, torch's matrix products are faster


@dataclass(frozen=True, eq=False)
class Matrix:
    """Rows of a linear layer (N, K) in bf16, or in int8 with what a unit of each row stands for (N); bias (N), fp32."""

    weight: Tensor
    scale: Tensor | None = None
    bias: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """(..., K) to (..., N), in the precision of x."""
        y = F.linear(x, self.weight.to(x.dtype))
        y = y if self.scale is None else y * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias.to(x.dtype)

    def rows(self, ids: Tensor) -> Tensor:
        """Rows of an embedding (..., K), fp32."""
        x = self.weight[ids].float()
        return x if self.scale is None else x * self.scale[ids, None]

    def tensors(self) -> Iterator[Tensor]:
        return (tensor for tensor in (self.weight, self.scale, self.bias) if tensor is not None)

    def described(self) -> decoding_kernel.Matrix:
        rows, columns = self.weight.shape
        pointers = (decoding_kernel.address(tensor) for tensor in (self.weight, self.scale, self.bias))
        return decoding_kernel.Matrix(*pointers, rows, columns)


@dataclass(frozen=True, eq=False)
class Norm:
    """Weight and bias (C), fp32; without a bias it is the root mean square's."""

    weight: Tensor
    bias: Tensor | None
    epsilon: float

    def __call__(self, x: Tensor) -> Tensor:
        if self.bias is None:
            return F.rms_norm(x.float(), self.weight.shape, self.weight, self.epsilon).type_as(x)
        return F.layer_norm(x.float(), self.weight.shape, self.weight, self.bias, self.epsilon).type_as(x)

    def described(self) -> decoding_kernel.Norm:
        return decoding_kernel.Norm(decoding_kernel.address(self.weight), decoding_kernel.address(self.bias))


@dataclass(frozen=True, eq=False)
class Layer:
    """One block. qkv: queries, keys and values stacked; up: the gate's rows first where there is one."""

    attention_norm: Norm
    qkv: Matrix
    q_norm: Norm | None
    k_norm: Norm | None
    out: Matrix
    mlp_norm: Norm
    up: Matrix
    down: Matrix

    def described(self) -> decoding_kernel.Layer:
        parts = (self.attention_norm, self.qkv, self.q_norm, self.k_norm, self.out, self.mlp_norm, self.up, self.down)
        return decoding_kernel.Layer(*(decoding_kernel.Norm() if part is None else part.described() for part in parts))


class Decoder:
    """A causal model for decoding alone. The model itself is not needed any more.

    notice: why the fast step is not there; empty where it is. Weights lie where the model's lie.
    """

    def __init__(self, model: CausalModel, precision: Precision) -> None:
        self.config: CausalConfig = model.config
        self.precision = precision
        self._device = model.embedding.weight.device
        self._head = _matrix(precision, model.head)
        tied = model.head.weight is model.embedding.weight
        self._embedding = self._head if tied else _matrix(precision, model.embedding)
        self._positions = model.positions.weight.detach().float().clone() if isinstance(model, gpt2.GPT2) else None
        self._rope: Rope | None = model.rope if isinstance(model, llama.Llama) else None
        self._norm = _norm(model.norm)
        self._layers = [_layer(precision, block) for block in model.blocks]
        self._kernel, self.notice = self._compiled()

    def parameters(self) -> Iterator[Tensor]:
        """The weights, for whoever asks where they lie or how many bytes they take; a tied output layer comes once."""
        yield from self._head.tensors()
        if self._embedding is not self._head:
            yield from self._embedding.tensors()
        for layer in self._layers:
            for part in (layer.qkv, layer.out, layer.up, layer.down):
                yield from part.tensors()

    def cache(self, batch: int, max_length: int) -> KVCache:
        """An empty cache for `batch` rows of up to `max_length` tokens, in bf16."""
        config, like = self.config, torch.empty(0, dtype=torch.bfloat16, device=self._device)
        return KVCache(config.n_layers, batch, config.n_kv_heads, max_length, config.head_width, like)

    @torch.no_grad()
    def __call__(self, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        """Logits in fp32: (B, T, V) without a cache, (B, 1, V) of the last token with one, which is all that decoding asks for."""
        B, T = ids.shape
        if cache is not None and self._kernel is not None and B <= _ROWS and B * T <= _SHORT:
            logits = torch.empty(B, 1, self.config.vocabulary)
            for piece in ids.split(_ROWS // B, dim=1):
                self._kernel.step(piece, cache.length, cache.keys, cache.values, logits)
                cache.length += piece.shape[1]
            return logits
        x = self._hidden(ids, cache)
        return self._head(self._norm(x if cache is None else x[:, -1:])).float()

    def _hidden(self, ids: Tensor, cache: KVCache | None) -> Tensor:
        start, T = cache.length if cache else 0, ids.shape[1]
        x = self._embedding.rows(ids)  # (B, T, C)
        if self._positions is not None:
            x = x + self._positions[start : start + T]
        # A CPU multiplies whole matrices fastest in fp32, so each is made wide for its turn; a single token is no such case.
        alone = T == 1 and cache is not None and self.precision == "bf16"
        x = x.to(torch.bfloat16 if alone or self._device.type != "cpu" else torch.float32)
        for index, layer in enumerate(self._layers):
            x = x + self._attend(layer, layer.attention_norm(x), index, start, cache)
            x = x + layer.down(self._activate(layer.up(layer.mlp_norm(x))))
        if cache:
            cache.length += T
        return x

    def _attend(self, layer: Layer, x: Tensor, index: int, start: int, cache: KVCache | None) -> Tensor:
        B, T, _ = x.shape
        config = self.config
        heads = layer.qkv(x).view(B, T, -1, config.head_width)  # (B, T, H + 2·H_kv, D)
        q, k, v = heads.split((config.n_heads, config.n_kv_heads, config.n_kv_heads), dim=2)
        q, k = q if layer.q_norm is None else layer.q_norm(q), k if layer.k_norm is None else layer.k_norm(k)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # (B, H, T, D), (B, H_kv, T, D) twice
        if self._rope is not None:
            q, k = self._rope(q, start), self._rope(k, start)
        if cache:
            kept = cache.append(index, k, v)
            k, v = (each.to(x.dtype) for each in (kept if start else (k, v)))  # (B, H_kv, start + T, D) twice
        y = attend(q, k, v, start=start)  # (B, H, T, D)
        return layer.out(y.transpose(1, 2).reshape(B, T, -1))  # (B, T, C)

    def _activate(self, x: Tensor) -> Tensor:
        if x.shape[-1] == self.config.hidden:
            return F.gelu(x, approximate="tanh")
        gate, up = x.chunk(2, dim=-1)  # (B, T, hidden) twice
        return F.silu(gate) * up

    def _compiled(self) -> tuple[decoding_kernel.Kernel | None, str]:
        if self._device.type != "cpu":
            return None, ""
        library = decoding_kernel.library()
        if isinstance(library, str):
            return None, library
        config = self.config
        layers = (decoding_kernel.Layer * config.n_layers)(*(layer.described() for layer in self._layers))
        rope = self._rope
        self._tables = () if rope is None else (rope.cos.float().contiguous(), rope.sin.float().contiguous())
        cos, sin = (decoding_kernel.address(table) for table in self._tables) if self._tables else (None, None)
        described = decoding_kernel.Model(
            *(config.n_layers, config.width, config.n_heads, config.n_kv_heads, config.head_width, config.hidden),
            config.norm_epsilon,
            self.precision == "int8",
            *(decoding_kernel.address(self._positions), cos, sin),
            *(self._embedding.described(), self._head.described(), self._norm.described()),
            ctypes.cast(layers, ctypes.POINTER(decoding_kernel.Layer)),
        )
        self._described = (described, layers)  # the step reads them where they are
        return decoding_kernel.Kernel(library, described), ""


def compiler_is_there() -> bool:
    """Whether a decoder on a CPU has its fast step. Takes seconds where it was never compiled on this machine."""
    return not isinstance(decoding_kernel.library(), str)


def _layer(precision: Precision, block: nn.Module) -> Layer:
    norms: tuple[Norm | None, Norm | None] = (None, None)
    if isinstance(block, gpt2.Block):
        qkv, up = _matrix(precision, block.attention.qkv), _matrix(precision, block.mlp.up)
    else:
        assert isinstance(block, llama.Block)
        qkv = _matrix(precision, block.attention.q, block.attention.k, block.attention.v)
        up = _matrix(precision, block.mlp.gate, block.mlp.up)
        norms = (_optional(block.attention.q_norm), _optional(block.attention.k_norm))
    out, down = _matrix(precision, block.attention.out), _matrix(precision, block.mlp.down)
    return Layer(_norm(block.attention_norm), qkv, *norms, out, _norm(block.mlp_norm), up, down)


def _norm(norm: RMSNorm | nn.LayerNorm) -> Norm:
    weight = norm.weight.detach().float().clone()
    if isinstance(norm, RMSNorm):
        return Norm(weight, None, norm.epsilon)
    return Norm(weight, norm.bias.detach().float().clone(), norm.eps)


def _optional(norm: nn.Module) -> Norm | None:
    return _norm(norm) if isinstance(norm, RMSNorm) else None


@torch.no_grad()
def _matrix(precision: Precision, *layers: nn.Linear | nn.Embedding) -> Matrix:
    """Linear layers, or an embedding, one above the other. int8: the largest value of a row is 127 units."""
    weight = torch.cat(tuple(layer.weight for layer in layers))  # (N, K)
    biases = [layer.bias for layer in layers if isinstance(layer, nn.Linear) and layer.bias is not None]
    bias = torch.cat(tuple(biases)).float() if biases else None
    if precision == "bf16":
        return Matrix(weight.to(torch.bfloat16, copy=True), None, bias)
    weight = weight.float()
    scale = weight.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / 127
    return Matrix((weight / scale[:, None]).round().to(torch.int8), scale, bias)
