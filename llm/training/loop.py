"""The training loop: one function, called in this process or by each worker of a cluster."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from infra.store import open_store
from infra.store.errors import SlipwayError
from llm.events import CheckpointSaved, Measure, Observer, Resumed, StepDone, Validated, ignore
from llm.training.apply import apply
from llm.training.checkpoints import Checkpoints, restore
from llm.training.gauge import Gauge
from llm.training.history import History
from llm.training.job import TrainingJob
from llm.training.numerics import Numerics
from llm.training.optimizers import make_optimizer
from llm.training.prefetch import Prefetch
from llm.training.results import Results
from llm.training.resume import newest
from llm.training.schedules import learning_rate
from llm.training.step import Objective, StepResult, train_step
from llm.training.topology import Topology


class DivergedError(SlipwayError):
    """The loss or its gradient is not a number any more."""

    code = "diverged"


class Order(Protocol):
    """Which rows make the batch of a step (from 0): a pure function of the step, so that nothing has to be saved."""

    def starts(self, step: int) -> NDArray[Any]:
        """What `Work.read` makes a batch of: (batch size over all workers,)."""
        ...

    def tokens(self, step: int) -> int:
        """The tokens of that batch, without padding."""
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
    sample: Callable[[int], None]  # shows text after a step
    facts: Mapping[str, Any]
    flops_per_token: int = 0  # of the model; 0 where rows are of unequal length


def train(work: Work, job: TrainingJob, *, topology: Topology, observe: Observer) -> History:
    """Trains until `job.steps` updates are made and returns a row for each, from the newest checkpoint of the job's runs if any.

    Ends with a checkpoint at the last step. `observe` hears the first worker alone. Raises DivergedError at the first loss or
    gradient that is not finite; it has changed no weight.
    """
    share = job.training.batch_size // topology.world

    def read(step: int) -> Tensor:
        return work.read(work.order.starts(step)[topology.rank * share : (topology.rank + 1) * share])

    with Prefetch(read, job.steps, torch.device(job.numerics.device)) as batches:
        return _train(work, job, batches, topology=topology, observe=observe)


def _train(work: Work, job: TrainingJob, batches: Prefetch, *, topology: Topology, observe: Observer) -> History:
    store, config, steps, numerics = open_store(job.store_url), job.training, job.steps, job.numerics
    checkpoints = Checkpoints(store, job.run, job.scratch)
    start = newest(store, (*job.earlier_runs, job.run))
    observe = observe if topology.leads else ignore
    model = work.model
    optimizer = make_optimizer(numerics.optimizer, model, weight_decay=config.weight_decay, half=numerics.precision != "fp32")
    state = {
        **{f"model.{name}": value for name, value in model.state_dict().items()},
        **{f"optimizer.{name}": value for name, value in optimizer.state().items()},
    }
    history = History()
    if start is not None:
        history = restore(start, state, work.facts, job.stage)
        observe(Resumed(len(history.rows), start.prefix))
    apply(model, numerics, config.activation_checkpointing)
    seen, finished = history.tokens(), time.perf_counter()
    gauge = Gauge.of(work.flops_per_token, numerics, topology.world)

    def finish(step: int, began: float, waited: float, rate: float, result: StepResult) -> None:
        nonlocal seen, finished
        loss, norm = float(result.loss), float(result.gradient_norm)
        if float(result.skipped):
            bad = f"gradient of the loss is {norm}" if math.isfinite(loss) else f"loss is {loss}"
            raise DivergedError(
                f"the {bad} at step {step + 1}",
                where=job.stage,
                mend="Lower training.learning_rate; the run would go on from its last checkpoint.",
            )
        tokens, before = work.order.tokens(step), max(began, finished)
        seen, finished = seen + tokens, time.perf_counter()
        seconds, workers = finished - before, topology.world
        mfu = gauge.mfu(tokens, seconds)
        done = StepDone(step + 1, steps, loss, tokens, seen, rate, norm, seconds, waited, workers, gauge.memory(), mfu)
        history.add(done)
        observe(done)

    results = Results(finish, late=numerics.device == "cuda")
    for step in range(len(history.rows), steps):
        began = time.perf_counter()
        batch = batches.take(step)
        waited = time.perf_counter() - began
        rate = learning_rate(
            config.schedule,
            step,
            steps,
            peak=config.learning_rate,
            warmup_share=config.warmup_share,
            decay_share=config.decay_share,
        )
        result = train_step(
            model,
            work.objective,
            batch.split(config.micro_batch_size or len(batch)),
            optimizer,
            learning_rate=rate,
            gradient_clip=config.gradient_clip,
            numerics=numerics,
            topology=topology,
        )
        results.add(step, began, waited, rate, result)
        last = step + 1 == steps
        look, save = (last or _due(step, every) for every in (config.validate_every, config.checkpoint_every))
        if look or save:
            results.flush()
        if look:
            loss, value = work.validate()
            validation = Validated(step + 1, loss, work.measure, value)
            history.add_validation(validation)
            observe(validation)
            if topology.leads:
                work.sample(step + 1)
        if save:
            facts = {**work.facts, "numerics": numerics.document(), "tokens_seen": seen}
            name = checkpoints.save(step + 1, state, history, facts, topology)
            observe(CheckpointSaved(step + 1, name))
    return history


def _due(step: int, every: int) -> bool:
    return every > 0 and (step + 1) % every == 0


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
