"""Which adapters a model gets (LoRA), without loading torch: recipes and forms need nothing more."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

from llm.config import Bounds


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Adapters beside a model's matrices (Hu et al., 2021): the weights stand still, two narrow matrices beside each learn."""

    __pydantic_config__: ClassVar[dict[str, object]] = {"use_attribute_docstrings": True, "extra": "forbid"}

    rank: Annotated[int, Bounds(ge=0)] = 8
    """Width of an adapter between its two matrices. 0: no adapters, and every weight learns."""
    alpha: Annotated[float, Bounds(gt=0)] = 16.0
    """How much adapters weigh: alpha / rank."""
    dropout: Annotated[float, Bounds(ge=0, lt=1)] = 0.0
    """Share of an adapter's input that is left out in training."""
    targets: tuple[str, ...] = ()
    """Matrices of a block that get one, by our names: attention.q, or mlp for all of its. Empty: all of attention and MLP."""
    rank_stabilised: bool = False
    """Whether they weigh alpha / sqrt(rank) instead (Kalajdzievski, 2023), for high ranks."""

    @property
    def scale(self) -> float:
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilised else self.rank)
