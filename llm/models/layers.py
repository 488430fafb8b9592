"""What the model families share: normalisation, rotary positions, the key-value cache."""

import math

import torch
from torch import Tensor, nn

from llm.models.config import RopeScaling


class RMSNorm(nn.Module):
    """Root mean square normalisation (Zhang & Sennrich, 2019), computed in fp32 whatever the input."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.epsilon)


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    return nn.functional.rms_norm(x.float(), weight.shape, weight.float(), epsilon).type_as(x)


class Rope(nn.Module):
    """Rotary positions (Su et al., 2021): pairs (i, i + D/2) of a head turn by position times base^(-2i/D)."""

    cos: Tensor
    sin: Tensor

    def __init__(self, head_width: int, length: int, base: float, scaling: RopeScaling | None = None) -> None:
        super().__init__()
        self.head_width, self.length, self.base, self.scaling = head_width, length, base, scaling
        self.reset()

    def reset(self) -> None:
        """The tables anew, on torch's current device: a model that was built on the meta device has none yet."""
        frequencies = self.base ** (-torch.arange(0, self.head_width, 2, dtype=torch.float32) / self.head_width)  # (D/2)
        if self.scaling is not None:
            frequencies = scaled(frequencies, self.scaling)
        angles = torch.outer(torch.arange(self.length, dtype=torch.float32), frequencies)  # (T, D/2)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, x: Tensor, start: int) -> Tensor:
        T = x.shape[-2]  # x: (B, H, T, D)
        cos, sin = self.cos[start : start + T].to(x.dtype), self.sin[start : start + T].to(x.dtype)  # (T, D/2)
        a, b = x.chunk(2, dim=-1)  # (B, H, T, D/2) twice
        return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)  # (B, H, T, D)


def scaled(frequencies: Tensor, scaling: RopeScaling) -> Tensor:
    """Frequencies (D/2) for a longer context; what each kind does stands at `RopeScaling`."""
    slower = frequencies / scaling.factor
    if scaling.kind == "linear":
        return slower
    turns = scaling.original_context_length * frequencies / (2 * math.pi)  # in the original context
    kept = (turns - scaling.low_frequency_factor) / (scaling.high_frequency_factor - scaling.low_frequency_factor)
    kept = kept.clamp(0, 1)
    return kept * frequencies + (1 - kept) * slower


class KVCache:
    """Keys and values of the tokens read so far, allocated once; `length` of the `max_length` places are filled."""

    def __init__(self, n_layers: int, batch: int, heads: int, max_length: int, head_width: int, like: Tensor) -> None:
        shape = (n_layers, batch, heads, max_length, head_width)
        self.keys, self.values = like.new_zeros(shape), like.new_zeros(shape)
        self.length, self.max_length = 0, max_length

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Stores (B, H, T, D) after what is there and returns all of it. `length` moves once, after the last layer."""
        end = self.length + k.shape[2]
        self.keys[layer, :, :, self.length : end] = k
        self.values[layer, :, :, self.length : end] = v
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]
