"""The training loop: one function, called in this process or by each worker of a cluster."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from infra.store.errors import SlipwayError
from infra.store.manifest import Thing
from llm.data.batches import BatchOrder
from llm.events import CheckpointSaved, Observer, Resumed, StepDone, Validated
from llm.training.checkpoints import Checkpoints, restore
from llm.training.config import TrainingConfig
from llm.training.history import History
from llm.training.numerics import Numerics
from llm.training.optimizers import AdamW
from llm.training.schedules import warmup_stable_decay
from llm.training.step import Objective, train_step
from llm.training.topology import Topology


class DivergedError(SlipwayError):
    """The loss is not a number any more."""

    code = "diverged"


@dataclass(frozen=True)
class Work:
    """What a loop works on: the model and its data, how to look at it from outside, and what a checkpoint must agree with."""

    model: nn.Module
    objective: Objective
    order: BatchOrder
    read: Callable[[Any], Tensor]  # where rows start -> a batch on the model's device
    validate: Callable[[], tuple[float, float]]  # -> nats per token, bits per byte
    sample: Callable[[int], None]  # shows text after a step
    facts: Mapping[str, Any]


def train(
    work: Work,
    config: TrainingConfig,
    steps: int,
    numerics: Numerics,
    checkpoints: Checkpoints,
    start: Thing | None,
    *,
    topology: Topology,
    observe: Observer,
) -> History:
    """Trains until `steps` updates are made, from the checkpoint `start` or from the beginning, and returns a row for each.

    Ends with a checkpoint at the last step. Raises DivergedError at the first loss that is not finite.
    """
    model = work.model
    optimizer = AdamW(model.named_parameters(), weight_decay=config.weight_decay)
    state = {
        **{f"model.{name}": value for name, value in model.state_dict().items()},
        **{f"optimizer.{name}": value for name, value in optimizer.state().items()},
    }
    history = History()
    if start is not None:
        history = restore(start, state, work.facts)
        observe(Resumed(len(history.rows), start.prefix))
    share = config.batch_size // topology.world
    seen = history.tokens()
    for step in range(len(history.rows), steps):
        before = time.perf_counter()
        mine = work.order.starts(step)[topology.rank * share : (topology.rank + 1) * share]
        rate = warmup_stable_decay(
            step, steps, peak=config.learning_rate, warmup_share=config.warmup_share, decay_share=config.decay_share
        )
        result = train_step(
            model,
            work.objective,
            [work.read(mine)],
            optimizer,
            learning_rate=rate,
            gradient_clip=config.gradient_clip,
            numerics=numerics,
            topology=topology,
        )
        loss = float(result.loss)
        if not math.isfinite(loss):
            raise DivergedError(
                f"the loss is {loss} at step {step + 1}",
                where="pretrain",
                mend="Lower training.learning_rate; the run would go on from its last checkpoint.",
            )
        seen += config.tokens_per_step
        done = StepDone(
            step + 1, steps, loss, config.tokens_per_step, seen, rate, float(result.gradient_norm), time.perf_counter() - before
        )
        history.add(done)
        observe(done)
        last = step + 1 == steps
        if last or _due(step, config.validate_every):
            validation = Validated(step + 1, *work.validate())
            history.add_validation(validation)
            observe(validation)
            if topology.leads:
                work.sample(step + 1)
        if last or _due(step, config.checkpoint_every):
            name = checkpoints.save(
                step + 1, state, history, {**work.facts, "numerics": numerics.document(), "tokens_seen": seen}, topology
            )
            observe(CheckpointSaved(step + 1, name))
    return history


def _due(step: int, every: int) -> bool:
    return every > 0 and (step + 1) % every == 0


@torch.no_grad()
def mean_loss(model: nn.Module, objective: Objective, batches: list[Tensor], numerics: Numerics) -> float:
    """Nats per target over the batches."""
    model.eval()
    total, count = 0.0, 0
    for batch in batches:
        with numerics.autocast():
            total += float(objective.loss(model, batch))
        count += objective.count(batch)
    model.train()
    return total / count
