"""Matrix products in 8-bit floating point (Micikevicius et al., 2022), for GPUs that have them: Hopper and later.

Weights, activations and gradients are scaled by their largest value when they are used; what is accumulated, added and kept is
bf16 or fp32 as before. Measured on no GPU yet.
"""

from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

SMALLEST: Final = 1024  # rows or columns below which the scaling costs more than the product saves
_VALUES: Final = torch.float8_e4m3fn
_SLOPES: Final = torch.float8_e5m2  # they need range more than digits


def with_float8(block: nn.Module) -> None:
    """Lets the large linear layers within multiply in float8 while they train. Their parameters stay what they are."""
    for module in block.modules():
        if type(module) is nn.Linear and suits(module):
            module.forward = partial(_linear, module)  # type: ignore[method-assign]


def suits(layer: nn.Linear) -> bool:
    """Whether the hardware takes the shape, and whether it pays."""
    sizes = (layer.in_features, layer.out_features)
    return min(sizes) >= SMALLEST and all(size % 16 == 0 for size in sizes)


def _linear(layer: nn.Linear, x: Tensor) -> Tensor:
    rows = x.numel() // layer.in_features
    if not layer.training or rows % 16:
        return nn.functional.linear(x, layer.weight, layer.bias)
    y = Float8Product.apply(x.reshape(rows, -1), layer.weight)  # type: ignore[no-untyped-call]
    y = y.view(*x.shape[:-1], layer.out_features)
    bias: Tensor | None = layer.bias
    return y if bias is None else y + bias.to(y.dtype)


class Float8Product(torch.autograd.Function):
    """Of x (N, K) and a weight (M, K): x · weightᵀ (N, M), bf16, and the same for the two products of the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        (x8, x_scale), (w8, w_scale) = scaled(x, _VALUES), scaled(weight, _VALUES)
        return _product(x8, w8.T, x_scale, w_scale)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        g8, g_scale = scaled(outputs[0], _SLOPES)  # (N, M)
        (x8, x_scale), (w8, w_scale) = scaled(x, _VALUES), scaled(weight, _VALUES)
        for_x = _product(g8, w8.T.contiguous().T, g_scale, w_scale)  # (N, M) · (M, K)
        for_weight = _product(g8.T.contiguous(), x8.T.contiguous().T, g_scale, x_scale)  # (M, N) · (N, K)
        return for_x.to(x.dtype), for_weight.to(weight.dtype)


def scaled(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """X in `dtype` with its largest value at the end of the range, and what that has to be multiplied with: () fp32."""
    scale = x.abs().amax().float().clamp(min=1e-12) / torch.finfo(dtype).max
    return (x.float() / scale).to(dtype), scale


def _product(a: Tensor, b: Tensor, a_scale: Tensor, b_scale: Tensor) -> Tensor:
    """Of a by rows and b by columns, as the hardware wants them."""
    return torch._scaled_mm(a, b, scale_a=a_scale, scale_b=b_scale, out_dtype=torch.bfloat16)
