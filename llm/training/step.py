"""One training step, the same for every objective: forward, backward, add up, clip, update."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from llm.training.loss import cross_entropy
from llm.training.numerics import Numerics
from llm.training.optimizers import Optimizer
from llm.training.pieces import local, total_norm
from llm.training.topology import ALONE, Topology


class Objective(Protocol):
    """What is minimised. A batch is whatever the objective understands, on the model's device."""

    def count(self, batch: Tensor) -> int | Tensor:
        """The targets in the batch that bear on the loss; () on the batch's device where they have to be counted there."""
        ...

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        """The loss summed over these targets: ()."""
        ...


@dataclass(frozen=True)
class NextToken:
    """Next-token prediction: a batch holds rows of T + 1 ids, each token is predicted from those before it.

    document_start: the token with which a document begins, where a row holds several and a token is to see its own alone.
    """

    document_start: int | None = None

    def count(self, batch: Tensor) -> int:
        return batch[:, 1:].numel()

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        ids = batch[:, :-1]  # (B, T)
        documents = None if self.document_start is None else (ids == self.document_start).cumsum(dim=1)  # (B, T)
        hidden = model.hidden(ids, documents=documents)  # type: ignore[operator] # (B, T, C)
        return cross_entropy(model.head, hidden.flatten(0, 1), batch[:, 1:].flatten())  # type: ignore[arg-type]


@dataclass(frozen=True)
class StepResult:
    """What a step found, each () on the device and not waited for.

    loss: per target over the whole batch. gradient_norm: before clipping. skipped: 1 where one of them is not finite or above its
    limit: then no weight and nothing of the optimizer was changed; else 0. stop: how many workers are asked to stop.
    """

    loss: Tensor
    gradient_norm: Tensor
    skipped: Tensor
    stop: Tensor


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
    spike_above: tuple[float, float] = (math.inf, math.inf),
    stop: bool = False,
) -> StepResult:
    """One update from all micro-batches of all workers, which weigh together exactly as one large batch would.

    spike_above: the loss and the gradient norm above which nothing is changed. stop: whether this worker is asked to stop, which
    all of them learn by it.

    The gradient is that of the loss summed over every target, divided by the count of all targets everywhere. Two micro-batches
    of one process and the same two on two workers of as many threads add up to the same bits.
    """
    device = micro_batches[0].device
    count = torch.as_tensor(sum(objective.count(batch) for batch in micro_batches), dtype=torch.float32, device=device)
    stops = torch.full((), float(stop), device=device)
    topology.add([count, stops])
    topology.spread(stops)
    total = torch.zeros((), device=device)
    sharded: Any = model if topology.has("shard") else None
    if sharded:
        sharded.reshard()  # a look at the model may have left whole weights, which may have been replaced since
    for place, batch in enumerate(micro_batches, start=1):
        if sharded:
            sharded.set_requires_all_reduce(place == len(micro_batches))  # between groups once, for all micro-batches
        with numerics.autocast():
            loss = objective.loss(model, batch) / count
        loss.backward()
        total += loss.detach()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    pieces = [local(gradient) for gradient in gradients]
    topology.add([total] if sharded else [total, *pieces])  # the backward pass has added up those of a sharded model
    norm = total_norm(gradients, topology.world)
    made = torch.isfinite(total + norm) & (total <= spike_above[0]) & (norm <= spike_above[1])
    skipped = 1 - made.float()
    if gradient_clip:
        torch._foreach_mul_(pieces, (gradient_clip / (norm + 1e-6)).clamp(max=1.0))
    optimizer.step(learning_rate, skipped)
    return StepResult(total, norm, skipped, stops)
