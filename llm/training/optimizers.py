"""AdamW (Loshchilov & Hutter, 2019) over torch's fused kernel.

`torch.optim.AdamW` loads the compiler with it, four seconds before the first step; its kernel alone does not.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class AdamW:
    """Decays matrices, not norms and biases. Its state is fp32, beside each parameter under the parameter's own name."""

    def __init__(
        self,
        parameters: Iterable[tuple[str, nn.Parameter]],
        *,
        weight_decay: float,
        betas: tuple[float, float] = (0.9, 0.95),
        epsilon: float = 1e-8,
    ) -> None:
        self.named = [(name, parameter) for name, parameter in parameters if parameter.requires_grad]
        self.weight_decay, self.betas, self.epsilon = weight_decay, betas, epsilon
        self.first = {name: torch.zeros_like(parameter, dtype=torch.float32) for name, parameter in self.named}
        self.second = {name: torch.zeros_like(parameter, dtype=torch.float32) for name, parameter in self.named}
        self.updates = torch.zeros((), dtype=torch.float32)

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """One update from the gradients that stand on the parameters; takes the gradients away."""
        self.updates += 1
        for decayed in (True, False):
            group = [(name, parameter) for name, parameter in self.named if (parameter.ndim >= 2) is decayed]
            if not group:
                continue
            counts = [self.updates.to(group[0][1].device, copy=True) for _ in group]
            torch._fused_adamw_(
                [parameter for _, parameter in group],
                [_gradient(name, parameter) for name, parameter in group],
                [self.first[name] for name, _ in group],
                [self.second[name] for name, _ in group],
                [],
                counts,
                lr=learning_rate,
                beta1=self.betas[0],
                beta2=self.betas[1],
                weight_decay=self.weight_decay if decayed else 0.0,
                eps=self.epsilon,
                amsgrad=False,
                maximize=False,
            )
        for _, parameter in self.named:
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """Everything a checkpoint keeps, as tensors that share memory with the optimizer's own."""
        return {
            "updates": self.updates,
            **{f"first.{name}": value for name, value in self.first.items()},
            **{f"second.{name}": value for name, value in self.second.items()},
        }


def _gradient(name: str, parameter: nn.Parameter) -> Tensor:
    if parameter.grad is None:
        raise RuntimeError(f"{name} got no gradient: every trainable parameter takes part in the loss")
    return parameter.grad
