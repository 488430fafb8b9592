"""LoRA (Hu et al., 2021): a model is wrapped from outside, its weights stand still, and small matrices beside them learn."""

import copy
import math
from collections.abc import Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from infra.store.errors import InputError
from llm.config import out_of_bounds
from llm.models.classifier import Classifier
from llm.models.lora_config import LoraConfig

M = TypeVar("M", bound=nn.Module)


class LoraLinear(nn.Linear):
    """A matrix W that stands still, and beside it what learns: x W^T + scale * dropout(x) A^T B^T. Parameters keep their names."""

    scale: float
    dropout: float
    lora_a: nn.Parameter
    lora_b: nn.Parameter

    @classmethod
    def around(cls, linear: nn.Linear, config: LoraConfig, generator: torch.Generator) -> "LoraLinear":
        """Its weights are the given matrix's own; B is zero, so that training starts from what the model says already."""
        width_out, width_in = linear.weight.shape
        wrapped = cls(width_in, width_out, bias=False, device="meta")
        wrapped.weight, wrapped.bias = linear.weight, linear.bias
        device = linear.weight.device
        drawn = torch.empty(config.rank, width_in).uniform_(-1, 1, generator=generator) / math.sqrt(width_in)
        wrapped.lora_a = nn.Parameter(drawn.to(device))  # (rank, in)
        wrapped.lora_b = nn.Parameter(torch.zeros(width_out, config.rank, device=device))  # (out, rank)
        wrapped.scale, wrapped.dropout = config.scale, config.dropout
        return wrapped.train(linear.training)

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.weight, self.bias)  # (..., out)
        inner = F.linear(F.dropout(x, self.dropout, self.training).to(self.lora_a.dtype), self.lora_a)  # (..., rank)
        return y + (F.linear(inner, self.lora_b) * self.scale).to(y.dtype)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """One matrix again, in the precision that the weights had; the sum is made in fp32."""
        linear = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        linear.weight, linear.bias = self.weight, self.bias
        linear.weight.copy_(self.sum_of(self.weight, self.lora_a, self.lora_b))
        return linear.train(self.training)

    def sum_of(self, weight: Tensor, lora_a: Tensor, lora_b: Tensor) -> Tensor:
        """The weights with an adapter of this one's scale added, in fp32: (out, in)."""
        return weight.float() + self.scale * (lora_b.float() @ lora_a.float())


def add_adapters(model: M, config: LoraConfig, *, seed: int = 0) -> M:
    """Wraps the model's matrices in place; from here on its adapters alone learn, and a classifier's output layer with them.

    Raises InputError for a target that the model does not have, for a model that has adapters, and for values out of bounds.
    """
    if wrong := [*out_of_bounds(config, "lora."), *([] if config.rank else ["lora.rank is 0"])]:
        raise InputError(f"no adapters can be made: {', '.join(wrong)}", where="lora", mend="Mend the values.")
    if any(isinstance(module, LoraLinear) for module in model.modules()):
        raise InputError("the model has adapters already", where="lora", mend="Merge them first.")
    chosen = _targets(model, config.targets)
    model.requires_grad_(requires_grad=False)
    generator = torch.Generator().manual_seed(seed)
    for name, linear in chosen:
        _replace(model, name, LoraLinear.around(linear, config, generator))
    if isinstance(model, Classifier):
        model.score.requires_grad_()
    return model


def merge_adapters(model: M) -> M:
    """Adds the adapters to the matrices that they stand beside, in place: a model as before, all of which can learn."""
    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLinear):
            _replace(model, name, module.merged())
    return model.requires_grad_()


def merged_copy(model: M) -> M:
    """The same model without adapters beside the one with them, which can go on learning."""
    return merge_adapters(copy.deepcopy(model))


def adapters(model: nn.Module) -> Iterator[tuple[str, LoraLinear]]:
    """The wrapped matrices by their names in the model's body."""
    return ((name, module) for name, module in body(model).named_modules() if isinstance(module, LoraLinear))


def body(model: nn.Module) -> nn.Module:
    """What reads the text: of a classifier all but its output layer."""
    return model.body if isinstance(model, Classifier) else model


def matrices(model: nn.Module) -> dict[str, nn.Linear]:
    """Every matrix that can have an adapter, by its name in the model's body: blocks.0.attention.q."""
    return {
        name: module for name, module in body(model).named_modules() if name.startswith("blocks.") and isinstance(module, nn.Linear)
    }


def within_block(name: str) -> str:
    """`attention.q` of `blocks.0.attention.q`."""
    return name.split(".", 2)[2]


def _targets(model: nn.Module, wanted: Sequence[str]) -> list[tuple[str, nn.Linear]]:
    found = matrices(model)
    known = list(dict.fromkeys(within_block(name) for name in found))
    if unknown := [target for target in wanted if not any(_meant(name, target) for name in known)]:
        raise InputError(
            f"the model has no matrix {', '.join(unknown)}",
            where="lora.targets",
            mend=f"Its blocks have {', '.join(known)}; attention and mlp stand for all of theirs.",
        )
    start = "body." if isinstance(model, Classifier) else ""
    return [
        (start + name, linear)
        for name, linear in found.items()
        if not wanted or any(_meant(within_block(name), target) for target in wanted)
    ]


def _meant(name: str, target: str) -> bool:
    return name == target or name.startswith(f"{target}.")


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, module)
