"""Muon (Jordan et al., 2024): momentum whose steps are orthogonalised, for the matrices between the residual paths.

A step moves every direction of a matrix equally far, where a gradient's few large singular values would drown the others.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor, nn

from llm.training.pieces import local, piece, whole

# Odd polynomials ax + bx³ + cx⁵, each the best approximation of 1 on the interval that the one before leaves of [0.02, 1]
# (Polar Express, Amsel et al., 2025; `tests/llm/training/test_muon.py` derives them again): after all three, every singular
# value between 0.02 and 1 of the largest lies within 10 % of 1.
POLYNOMIALS: Final = (
    (7.710969, -22.113755, 16.248743),
    (3.215276, -2.411172, 0.501300),
    (2.218308, -1.593990, 0.410748),
)
_SCALE: Final = (
    0.2  # the root mean square of AdamW's updates, so that its learning rate and weight decay serve both (Liu et al., 2025)
)
_BATCH_ELEMENTS: Final = 1 << 26  # of matrices stacked at once: half the memory of a large model is not spent on a second copy


class Muon:
    """Nesterov momentum, orthogonalised, with decoupled weight decay. Its state is fp32, under each parameter's own name.

    Where workers hold pieces of a matrix, its momentum is in pieces too. What is orthogonalised is gathered, a batch of matrices
    at a time, and each worker does that for all of them, as it does where everybody holds everything: it sends each matrix once,
    not twice as when the work were dealt out, and every worker has the same bits without being told.

    fused: names of matrices that are several stacked by rows, such as a query-key-value projection, and how many: each is
    orthogonalised alone. half: whether to orthogonalise in bf16, which is exact enough, where the machine is fast at it.
    """

    def __init__(
        self,
        parameters: Iterable[tuple[str, nn.Parameter]],
        *,
        weight_decay: float,
        momentum: float = 0.9,
        fused: Mapping[str, int] | None = None,
        half: bool = False,
    ) -> None:
        self.named = [(name, parameter) for name, parameter in parameters if parameter.requires_grad]
        if odd := [name for name, parameter in self.named if parameter.ndim != 2]:
            raise ValueError(f"{odd[0]} is no matrix: Muon takes matrices alone")
        self.weight_decay, self.momentum, self.half = weight_decay, momentum, half
        self.velocity = {name: torch.zeros_like(parameter, dtype=torch.float32) for name, parameter in self.named}
        self.batches = _batches(self.named, fused or {})

    @torch.no_grad()
    def step(self, learning_rate: float, found_inf: Tensor | None = None) -> None:
        """One update from the gradients that stand on the parameters; takes the gradients away.

        found_inf: () fp32 on the parameters' device, 1 where a gradient is not finite, else 0: with 1 nothing changes, and
        nobody waits to learn which it was.
        """
        if not self.named:
            return
        parameters = [local(parameter) for _, parameter in self.named]
        gradients = [local(gradient_of(name, parameter)).float() for name, parameter in self.named]
        velocities = [local(self.velocity[name]) for name, _ in self.named]
        if found_inf is None:
            torch._foreach_mul_(velocities, self.momentum)
            torch._foreach_add_(velocities, gradients)
            directions = torch._foreach_add(gradients, velocities, alpha=self.momentum)
            updates = self._orthogonalised(directions)
            torch._foreach_mul_(parameters, 1 - learning_rate * self.weight_decay)
            torch._foreach_add_(parameters, updates, alpha=-learning_rate)
        else:
            keep = 1 - found_inf  # () 1 or 0
            gradients = [torch.where(found_inf > 0, 0.0, gradient) for gradient in gradients]
            torch._foreach_mul_(velocities, 1 - keep * (1 - self.momentum))
            torch._foreach_add_(velocities, gradients)
            updates = self._orthogonalised(torch._foreach_add(gradients, velocities, alpha=self.momentum))
            torch._foreach_mul_(parameters, 1 - keep * (learning_rate * self.weight_decay))
            torch._foreach_mul_(updates, keep * -learning_rate)
            torch._foreach_add_(parameters, updates)
        for _, parameter in self.named:
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """Everything a checkpoint keeps, as tensors that share memory with the optimizer's own."""
        return {f"velocity.{name}": value for name, value in self.velocity.items()}

    def _orthogonalised(self, directions: Sequence[Tensor]) -> list[Tensor]:
        """Each direction with its singular values near 1, at AdamW's size: fp32, shaped and cut as the parameters."""
        updates: dict[int, Tensor] = {}
        layouts = [parameter for _, parameter in self.named]
        for batch in self.batches:
            gathered = {index: whole(directions[index], layouts[index]) for index in dict.fromkeys(index for index, _, _ in batch)}
            for index, matrix in gathered.items():
                updates.setdefault(index, torch.empty_like(matrix))
            parts = [(gathered[index].chunk(count)[part], updates[index].chunk(count)[part]) for index, count, part in batch]
            rows, columns = parts[0][0].shape
            stacked = torch.stack([given for given, _ in parts])  # (n, rows, columns)
            found = orthogonalise(stacked, half=self.half) * (_SCALE * max(rows, columns) ** 0.5)
            for (_, update), value in zip(parts, found, strict=True):
                update.copy_(value)
            updates |= {index: piece(updates[index], layouts[index]) for index, count, part in batch if part == count - 1}
        return [updates[index] for index in range(len(directions))]


def orthogonalise(matrices: Tensor, *, half: bool = False) -> Tensor:
    """(n, rows, columns) with singular values σ -> the same singular vectors, values near 1 (0 stays 0). fp32 in and out.

    half: in bf16 in between. The first iteration also finds the scale: the fourth root of
    ‖(XXᵀ)²‖ is at least the largest singular value, and far nearer to it than ‖X‖, at no further matrix product.
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices  # (n, r, c), r <= c: the products below have the smaller side
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-30)
    x = x.bfloat16() if half else x
    for iteration, (a, b, c) in enumerate(POLYNOMIALS):
        gram = x @ x.mT  # (n, r, r)
        square = gram @ gram
        if iteration == 0:
            bound = square.float().norm(dim=(-2, -1), keepdim=True).clamp_min(1e-30) ** 0.25  # (n, 1, 1)
            scale = (1 / (1.01 * bound)).to(x.dtype)
            x, gram, square = x * scale, gram * scale**2, square * scale**4
        gram = torch.add(gram * b, square, alpha=c)
        x = torch.baddbmm(x, gram, x, beta=a)
    return (x.mT if tall else x).float()


def gradient_of(name: str, parameter: nn.Parameter) -> Tensor:
    if parameter.grad is None:
        raise RuntimeError(f"{name} got no gradient: every trainable parameter takes part in the loss")
    return parameter.grad


def _batches(named: Sequence[tuple[str, nn.Parameter]], fused: Mapping[str, int]) -> list[list[tuple[int, int, int]]]:
    """Matrices of one shape together: (place in `named`, how many it is fused of, which of them)."""
    by_shape: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
    for index, (name, parameter) in enumerate(named):
        count = fused.get(name, 1)
        rows, columns = parameter.shape
        by_shape.setdefault((rows // count, columns), []).extend((index, count, part) for part in range(count))
    batches = []
    for (rows, columns), places in by_shape.items():
        size = max(1, _BATCH_ELEMENTS // (rows * columns))
        batches += [places[start : start + size] for start in range(0, len(places), size)]
    return batches
