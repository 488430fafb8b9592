"""What a loop works on: a model, its data in an order, and how to look at it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from llm.data.windows import Windows
from llm.events import Measure
from llm.training.numerics import Numerics
from llm.training.step import Objective


class Order(Protocol):
    """Which rows make the batch of a step (from 0): a pure function of the step, so that nothing has to be saved."""

    def starts(self, step: int) -> NDArray[Any]:
        """What `Work.read` makes a batch of: (batch size over all workers,)."""
        ...

    def tokens(self, step: int) -> int:
        """The tokens of that batch, without padding."""
        ...

    def without(self, first: int, last: int) -> Self:
        """This order, but that the batches of its steps `first` to `last` are never read; those after them move up."""
        ...

    @property
    def skip_steps(self) -> Windows:
        """Those that are left out, as an order that leaves none out counts them."""
        ...


@dataclass(frozen=True)
class Work:
    """What a loop works on: the model and its data, how to look at it from outside, and what a checkpoint must agree with."""

    model: nn.Module
    objective: Objective
    order: Order
    read: Callable[[NDArray[Any]], Tensor]  # rows of the order -> a batch on the CPU; a thread of its own calls it
    measure: Measure
    validate: Callable[[], tuple[float, float]]  # -> nats per target, the measure's value
    sample: Callable[[int, Any], None]  # shows text of a model after a step
    facts: Mapping[str, Any]
    flops_per_token: int = 0  # of the model; 0 where rows are of unequal length


@torch.no_grad()
def mean_loss(model: nn.Module, objective: Objective, batches: Sequence[Tensor], numerics: Numerics) -> float:
    """Nats per target over the batches."""
    model.eval()
    total, count = 0.0, 0
    for batch in batches:
        with numerics.autocast():
            total += float(objective.loss(model, batch))
        count += int(objective.count(batch))
    model.train()
    return total / count
