"""One training step, the same for every objective: forward, backward, add up, clip, update."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llm.training.numerics import Numerics
from llm.training.optimizers import Optimizer
from llm.training.topology import ALONE, Topology


class Objective(Protocol):
    """What is minimised. A batch is whatever the objective understands, on the model's device."""

    def count(self, batch: Tensor) -> int:
        """The targets in the batch that bear on the loss."""
        ...

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        """The loss summed over these targets: ()."""
        ...


class NextToken:
    """Next-token prediction: a batch holds rows of T + 1 ids, each token is predicted from those before it."""

    def count(self, batch: Tensor) -> int:
        return batch[:, 1:].numel()

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        logits = model(batch[:, :-1])  # (B, T, V)
        return F.cross_entropy(logits.flatten(0, 1).float(), batch[:, 1:].flatten(), reduction="sum")


@dataclass(frozen=True)
class StepResult:
    """`loss` per target over the whole batch, `gradient_norm` before clipping; both () on the device, not waited for."""

    loss: Tensor
    gradient_norm: Tensor


def train_step(
    model: nn.Module,
    objective: Objective,
    micro_batches: Sequence[Tensor],
    optimizer: Optimizer,
    *,
    learning_rate: float,
    gradient_clip: float,
    numerics: Numerics,
    topology: Topology = ALONE,
) -> StepResult:
    """One update from all micro-batches of all workers, which weigh together exactly as one large batch would.

    The gradient is that of the loss summed over every target, divided by the count of all targets everywhere.
    """
    device = micro_batches[0].device
    count = torch.tensor(float(sum(objective.count(batch) for batch in micro_batches)), device=device)
    topology.add([count])
    total = torch.zeros((), device=device)
    for batch in micro_batches:
        with numerics.autocast():
            loss = objective.loss(model, batch) / count
        loss.backward()
        total += loss.detach()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    topology.add([total, *gradients])
    norm = torch.nn.utils.get_total_norm(gradients)
    if gradient_clip:
        torch.nn.utils.clip_grads_with_norm_(model.parameters(), gradient_clip, norm)
    optimizer.step(learning_rate)
    return StepResult(total, norm)
