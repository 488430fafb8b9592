"""The training loop: one function, called in this process or by each worker of a cluster."""

import math
import time
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor

from infra.store import open_store
from infra.store.errors import SlipwayError
from infra.store.manifest import Thing, load
from llm.events import Noted, Observer, Resumed, RolledBack, Skipped, StepDone, Validated, ignore
from llm.training.apply import apply
from llm.training.checkpoints import Checkpoints, Reader, State, learnt, with_random_state
from llm.training.gauge import Gauge
from llm.training.guard import Guard, left_of, trouble, why
from llm.training.history import History
from llm.training.job import TrainingJob
from llm.training.optimizers import make_optimizer
from llm.training.parallel import arrange, whole
from llm.training.prefetch import Prefetch
from llm.training.random_state import seed
from llm.training.results import Results
from llm.training.resume import finished, newest, remove, step_of
from llm.training.saving import Saver
from llm.training.schedules import learning_rate
from llm.training.step import StepResult, train_step
from llm.training.stopping import StoppedError, asked, on_sigterm
from llm.training.topology import Topology
from llm.training.work import Work

Limits = tuple[float, float]
_PATIENCE: Final = 300.0  # seconds for which the last checkpoint is tried again
_PATIENCE_OF_A_STOP: Final = 20.0  # whoever asks to stop does not wait for long


class DivergedError(SlipwayError):
    """Steps go on having a loss or gradient that is not finite, or far too high."""

    code = "diverged"


def train(work: Work, job: TrainingJob, *, topology: Topology, observe: Observer) -> History:
    """Trains until `job.steps` steps are made and returns a row for each, from the newest checkpoint of the job's runs if any.

    Ends with a checkpoint at the last step. `observe` hears the first worker alone. A step whose loss or gradient is not finite,
    or far from what is usual, changes nothing; where that does not pass, training goes back to a checkpoint and leaves the
    batches since out. Raises DivergedError when that did not help, and StoppedError, after a checkpoint, when it is asked to stop.
    """
    observe = observe if topology.leads else ignore
    config = job.training
    topology = arrange(topology, config, job.numerics.device)
    checkpoints = Checkpoints(open_store(job.store_url), job.run, job.scratch, config.keep_checkpoints, config.keep_every)
    with on_sigterm(), Saver(checkpoints, topology, observe) as saver:
        training = _Training(work, job, topology, observe, saver)
        while True:
            try:
                training.go()
                return training.history
            except _Trouble as trouble:
                training.go_back(trouble)


class _Trouble(Exception):
    """Steps go wrong and it does not pass: since the step `first` (from 1), and how."""

    def __init__(self, first: int, why: str) -> None:
        super().__init__(first, why)
        self.first, self.why = first, why


class _Training:
    """Where a training stands."""

    def __init__(self, work: Work, job: TrainingJob, topology: Topology, observe: Observer, saver: Saver) -> None:
        self.work, self.job, self.topology, self.observe, self.saver = work, job, topology, observe, saver
        self.store, config, numerics = open_store(job.store_url), job.training, job.numerics
        self.guard = Guard(config.spike_window, config.spike_threshold)
        self.gauge = Gauge.of(work.flops_per_token, numerics, topology.world)
        apply(work.model, numerics, config.activation_checkpointing, topology)
        self.optimizer = make_optimizer(
            numerics.optimizer, work.model, weight_decay=config.weight_decay, half=numerics.precision != "fp32"
        )
        self.state = {
            **learnt(work.model),
            **{f"optimizer.{name}": value for name, value in self.optimizer.state().items()},
        }
        self.reader = Reader(job.stage, numerics.device, config.seed, topology)
        self.order, self.history = work.order, History()
        self.stopping = self.owing = False  # asked to stop; a checkpoint is due, and was put off
        seed(config.seed, 0, topology.share)
        if (start := self._newest()) is not None:
            self._restore(start)
            observe(Resumed(len(self.history.rows), start.prefix))
        self.seen, self.finished = self.history.tokens(), time.perf_counter()

    def go(self) -> None:
        """To the last step. Raises _Trouble."""
        job, share, size = self.job, self.topology.share, self.job.training.batch_size // self.topology.shares

        def read(step: int) -> Tensor:
            return self.work.read(self.order.starts(step)[share * size : (share + 1) * size])

        with Prefetch(read, job.steps, torch.device(job.numerics.device)) as batches:
            results = Results(self._finish, late=job.numerics.device == "cuda")
            for step in range(len(self.history.rows), job.steps):
                self._step(step, batches, results)
                last = step + 1 == job.steps
                look, save = (last or _due(step, every) for every in (job.training.validate_every, job.training.checkpoint_every))
                self.owing = self.owing or save
                if look or self.owing or self.stopping:
                    results.flush()
                if look:
                    self._look(step)
                if last:
                    self.saver.save_now(step + 1, *self._saved(), seconds=_PATIENCE)
                elif self.stopping:
                    self._stop(step)
                elif self.owing and not self.history.rows[-1]["skipped"]:
                    self.saver.save(step + 1, *self._saved())
                    self.owing = False
                self.saver.tell()

    def go_back(self, trouble: _Trouble) -> None:
        """To the newest checkpoint from before the trouble; the batches since are not read again. Raises DivergedError."""
        self.saver.wait()
        at, rollbacks, most = len(self.history.rows), self.history.rollbacks, self.job.training.max_rollbacks
        goal = (self._newest(trouble.first) or self._newest(at)) if len(rollbacks) < most else None
        if goal is None:
            gone = f", though training went back {len(rollbacks)} times" if rollbacks else ""
            gone = gone or ("" if not most else ", and there is no checkpoint from before to go back to")
            raise DivergedError(
                f"{trouble.why} at step {at}; it is so since step {trouble.first} and does not pass{gone}",
                where=self.job.stage,
                mend="Lower training.learning_rate; the run would go on from its last checkpoint.",
            )
        if self.topology.leads:
            for name in reversed(finished(self.store, self._runs())):
                if step_of(name) > goal.facts["step"]:
                    remove(self.store, name)
        self.topology.wait()
        self._restore(goal)
        first = len(self.history.rows) + 1
        self.history.rollbacks = [*rollbacks, {"step": first - 1, "first": first, "last": at, "why": trouble.why}]
        self.order = left_of(self.work.order, self.history.rollbacks)
        self.seen, self.owing = self.history.tokens(), False
        self.observe(RolledBack(first - 1, first, at, trouble.why))

    def _step(self, step: int, batches: Prefetch, results: "Results[int, float, float, float, Limits, StepResult]") -> None:
        config = self.job.training
        began = time.perf_counter()
        batch = batches.take(step)
        waited = time.perf_counter() - began
        rate = learning_rate(
            config.schedule,
            step,
            self.job.steps,
            peak=config.learning_rate,
            warmup_share=config.warmup_share,
            decay_share=config.decay_share,
        )
        limits = self.guard.limits(self.history.rows, step)
        result = train_step(
            self.work.model,
            self.work.objective,
            batch.split(config.micro_batch_size or len(batch)),
            self.optimizer,
            learning_rate=rate,
            gradient_clip=config.gradient_clip,
            numerics=self.job.numerics,
            topology=self.topology,
            spike_above=limits,
            stop=asked(),
        )
        results.add(step, began, waited, rate, limits, result)

    def _finish(self, step: int, began: float, waited: float, rate: float, limits: Limits, result: StepResult) -> None:
        loss, norm, skipped, stop = torch.stack([result.loss, result.gradient_norm, result.skipped, result.stop]).tolist()
        self.stopping = self.stopping or bool(stop)
        tokens, before = self.order.tokens(step), max(began, self.finished)
        self.seen, self.finished = self.seen + tokens, time.perf_counter()
        seconds, workers = self.finished - before, self.topology.world
        mfu = self.gauge.mfu(tokens, seconds)
        done = StepDone(
            step + 1, self.job.steps, loss, tokens, self.seen, rate, norm, seconds, waited, workers, self.gauge.memory(), mfu
        )
        self.history.add(done, skipped=bool(skipped))
        if not skipped:
            self.observe(done)
            return
        reason = why(loss, norm, limits)
        self.observe(Skipped(step + 1, reason))
        if (first := trouble(self.history.rows)) is not None:
            raise _Trouble(first, reason)

    def _look(self, step: int) -> None:
        loss, value = self.topology.gather(self.work.validate())[0]
        if not math.isfinite(loss):
            raise _Trouble(step + 1, f"the loss on validation is {loss}")
        validation = Validated(step + 1, loss, self.work.measure, value)
        self.history.add_validation(validation)
        self.observe(validation)
        model = whole(self.work.model, self.topology)
        if self.topology.leads and model is not None:
            self.work.sample(step + 1, model)

    def _stop(self, step: int) -> None:
        self.saver.save_now(step + 1, *self._saved(), seconds=_PATIENCE_OF_A_STOP)
        raise StoppedError(
            f"asked to stop after step {step + 1:,} of {self.job.steps:,}, which is saved",
            where=self.job.stage,
            mend=f"The same command goes on with step {step + 2:,}.",
        )

    def _saved(self) -> tuple[State, History, Mapping[str, Any]]:
        numerics = self.job.numerics
        facts = {
            **self.work.facts,
            "numerics": numerics.document(),
            "tokens_seen": self.seen,
            "shares": self.topology.shares,
            "skip_steps": self.order.skip_steps,
            "rollbacks": self.history.rollbacks,
        }
        return with_random_state(self.state, numerics.device, self.topology.share), self.history, facts

    def _newest(self, before: float = math.inf) -> Thing | None:
        """As the first worker finds it."""

        def tell(message: str) -> None:
            self.observe(Noted(message))

        found = newest(self.store, self._runs(), tell, before=before) if self.topology.leads else None
        name = self.topology.gather(found.prefix if found else None)[0]
        return load(self.store, name) if name else None

    def _restore(self, checkpoint: Thing) -> None:
        self.history = self.reader.restore(checkpoint, self.state, self.work.facts)
        self.order = left_of(self.work.order, self.history.rollbacks)

    def _runs(self) -> tuple[str, ...]:
        return (*self.job.earlier_runs, self.job.run)


def _due(step: int, every: int) -> bool:
    return every > 0 and (step + 1) % every == 0
