"""Which optimizer trains which parameter, and AdamW (Loshchilov & Hutter, 2019) over torch's fused kernel.

`torch.optim.AdamW` loads the compiler with it, four seconds before the first step; its kernel alone does not.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

import torch
from torch import Tensor, nn

from llm.training.config import OptimizerName
from llm.training.muon import Muon, gradient_of
from llm.training.pieces import local

Named = Sequence[tuple[str, nn.Parameter]]

# Muon's rate suits matrices whose every direction moves equally far. A row of an embedding moves only where its token stands,
# and wants a higher one (`benchmarks/LOG.md` has the sweep).
_EMBEDDING_RATE: Final = 6.0
# Adapters start from nothing and want about ten times the rate of weights (Schulman, 2025: LoRA Without Regret).
_BESIDE_ADAPTERS: Final = 0.1


class Optimizer(Protocol):
    """What a training step asks of an optimizer."""

    def step(self, learning_rate: float, found_inf: Tensor | None = None) -> None:
        """One update from the gradients that stand on the parameters; takes the gradients away.

        found_inf: () fp32 on the parameters' device, 1 where a gradient is not finite, else 0: with 1 nothing changes, and
        nobody waits to learn which it was.
        """
        ...

    def state(self) -> dict[str, Tensor]:
        """Everything a checkpoint keeps, as tensors that share memory with the optimizer's own."""
        ...


def make_optimizer(name: OptimizerName, model: nn.Module, *, weight_decay: float, half: bool = False) -> Optimizer:
    """adamw: every trainable parameter by AdamW. muon: the matrices of the blocks by Muon, all the others by AdamW.

    Beside Muon the embeddings of tokens take 6 times the learning rate; beside adapters, weights take a tenth of it.
    half: whether Muon may work in bf16.
    """
    named = [(key, parameter) for key, parameter in model.named_parameters() if parameter.requires_grad]
    adapted = {key for key, _ in named if key.endswith((".lora_a", ".lora_b"))}
    rates = {key: _BESIDE_ADAPTERS for key, _ in named if adapted and key not in adapted}
    if name == "adamw":
        return AdamW(named, weight_decay=weight_decay, rates=rates)
    hidden, others = hidden_matrices(named)
    muon = Muon(hidden, weight_decay=weight_decay, fused=_fused(hidden), half=half)
    for key in (key for key, _ in others if key.split(".")[-2:] == ["embedding", "weight"]):
        rates[key] = _EMBEDDING_RATE * rates.get(key, 1.0)
    return Together(named, muon, AdamW(others, weight_decay=weight_decay, rates=rates))


def hidden_matrices(named: Named) -> tuple[Named, Named]:
    """The matrices within the blocks, which lead from one hidden state to another, and all the rest.

    The rest: embeddings and output layers, whose rows are tokens or labels, positions, norms and biases.
    """

    def hidden(name: str, parameter: nn.Parameter) -> bool:
        return "blocks" in name.split(".") and parameter.ndim == 2

    return [item for item in named if hidden(*item)], [item for item in named if not hidden(*item)]


class Together:
    """Several optimizers as one: each parameter belongs to exactly one of them."""

    def __init__(self, named: Named, *parts: "Muon | AdamW") -> None:
        owners: dict[int, str] = {}
        for part in parts:
            for name, parameter in part.named:
                if (other := owners.setdefault(id(parameter), name)) != name or sum(name in dict(p.named) for p in parts) > 1:
                    raise ValueError(f"{name} is trained twice{'' if other == name else f', as {other} too'}")
        if left := [name for name, parameter in named if id(parameter) not in owners]:
            raise ValueError(f"nothing trains {', '.join(left)}")
        self.parts = parts

    def step(self, learning_rate: float, found_inf: Tensor | None = None) -> None:
        for part in self.parts:
            part.step(learning_rate, found_inf)

    def state(self) -> dict[str, Tensor]:
        return {name: value for part in self.parts for name, value in part.state().items()}


class AdamW:
    """Decays matrices, not norms and biases. Its state is fp32, beside each parameter under its own name, and in pieces as it is.

    rates: names of parameters that take another learning rate, and how many times the others' it is.
    """

    def __init__(
        self,
        parameters: Iterable[tuple[str, nn.Parameter]],
        *,
        weight_decay: float,
        betas: tuple[float, float] = (0.9, 0.95),
        epsilon: float = 1e-8,
        rates: Mapping[str, float] | None = None,
    ) -> None:
        self.named = [(name, parameter) for name, parameter in parameters if parameter.requires_grad]
        self.weight_decay, self.betas, self.epsilon = weight_decay, betas, epsilon
        self.first = {name: torch.zeros_like(parameter, dtype=torch.float32) for name, parameter in self.named}
        self.second = {name: torch.zeros_like(parameter, dtype=torch.float32) for name, parameter in self.named}
        self.updates = torch.zeros((), dtype=torch.float32, device=self.named[0][1].device if self.named else None)
        self.groups: dict[tuple[bool, float], list[tuple[str, nn.Parameter]]] = {}  # (whether decayed, times the rate)
        for name, parameter in self.named:
            self.groups.setdefault((parameter.ndim >= 2, (rates or {}).get(name, 1.0)), []).append((name, parameter))

    @torch.no_grad()
    def step(self, learning_rate: float, found_inf: Tensor | None = None) -> None:
        """One update from the gradients that stand on the parameters; takes the gradients away. found_inf: as `Optimizer` says."""
        if found_inf is None:
            self.updates += 1
        else:
            self.updates += 1 - found_inf
        for (decayed, times), group in self.groups.items():
            torch._fused_adamw_(
                [local(parameter) for _, parameter in group],
                [local(gradient_of(name, parameter)) for name, parameter in group],
                [local(self.first[name]) for name, _ in group],
                [local(self.second[name]) for name, _ in group],
                [],
                [self.updates for _ in group],
                lr=learning_rate * times,
                beta1=self.betas[0],
                beta2=self.betas[1],
                weight_decay=self.weight_decay if decayed else 0.0,
                eps=self.epsilon,
                amsgrad=False,
                maximize=False,
                found_inf=found_inf,
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


def _fused(hidden: Named) -> Mapping[str, int]:
    """Query, key and value projections that stand in one matrix, three by rows."""
    return {name: 3 for name, weight in hidden if name.endswith("qkv.weight") and weight.shape[0] == 3 * weight.shape[1]}
