"""What the works of every training share: here or on Ray, its numerics, its curve, its last checkpoint."""

import os
from collections.abc import Callable
from functools import partial
from resource import RUSAGE_SELF, getrusage
from typing import Any, Final, TypeVar

import torch

from flows.pipeline.artifacts import show_picture
from flows.pipeline.stage import Job
from flows.samples import SAMPLES, samples_table
from flows.work.watch import Watch
from infra.plots import loss_curve
from infra.store.errors import DamagedError
from infra.store.manifest import Thing
from llm.events import Measure, Observer
from llm.training.config import FinetuneConfig, TrainingConfig
from llm.training.history import History
from llm.training.job import TrainingJob
from llm.training.numerics import Numerics
from llm.training.resume import newest
from llm.training.topology import Topology
from llm.training.worker_counts import Workers, most

J = TypeVar("J", bound=TrainingJob)
_MEASURED: Final[dict[Measure, str]] = {"bits_per_byte": "Held-out text, bits per byte", "accuracy": "Held-out texts, accuracy"}


def begun(job: Job, training: TrainingConfig | FinetuneConfig, stage: str, *, flops: float = 0.0) -> tuple[Thing | None, Numerics]:
    """The checkpoint that an earlier attempt left, if any, and its numerics; else those that suit this machine and the work.

    flops: of the whole training. 0 where they are not known, as with rows of unequal length: it is compiled if asked to be.
    """
    start = newest(job.store, (*job.earlier_runs, job.run))
    if start:
        return start, _where_it_trains(job, training.workers, partial(Numerics.recorded, start.facts["numerics"], stage))
    decide = partial(Numerics.decide, training.precision, training.optimizer, compile=training.compile, flops=flops)
    return None, _where_it_trains(job, training.workers, decide)


def _where_it_trains(job: Job, workers: Workers, decide: Callable[[], Numerics]) -> Numerics:
    """On a cluster its workers decide: they may have GPUs, or bf16 instructions, where this machine has none."""
    address = job.settings.ray_address
    if not (workers and address):
        return decide()
    from infra.cluster_tasks import on_a_worker  # Ray, as below

    return on_a_worker(partial(_decided, decide, torch.get_num_threads()), address)


def _decided(decide: Callable[[], Numerics], threads: int) -> Numerics:
    torch.set_num_threads(threads)  # Ray gives its tasks a single one
    return decide()


def run_training(job: Job, train: Callable[[J, Observer, Topology], History], plan: J, workers: Workers) -> tuple[History, Watch]:
    """`train(plan, ...)` in this process, or on so many Ray workers; and what was seen meanwhile."""
    watch = Watch(job, plan.numerics, most(workers))
    try:
        return _trained(job, train, plan, workers, watch), watch
    finally:
        watch.end()


def _trained(job: Job, train: Callable[[J, Observer, Topology], History], plan: J, workers: Workers, observe: Observer) -> History:
    if not workers:
        return train(plan, observe, Topology())
    from flows.work.workers import train_on_ray  # Ray costs seconds, and nothing without workers needs it

    return train_on_ray(job, train, plan, workers, observe, cores=os.cpu_count() or 1)


def publish_metrics(job: Job, history: History, watch: Watch, measure: Measure) -> str:
    """`metrics.parquet`, a row a step; it, the curve as a picture and the samples as a table are on the run's page in MLflow.

    Returns the place of `metrics.parquet` in the store.
    """
    table, picture = job.scratch / "metrics.parquet", job.scratch / "loss-curve.png"
    history.write(table)
    steps, losses = zip(*history.series("loss"), strict=True)
    validation = list(history.series(f"validation_{measure}"))
    loss_curve(steps, losses, picture, validation=validation, references={}, title=job.run, measured=_MEASURED[measure])
    show_picture(f"loss-{job.run.rsplit('-', 2)[0]}", picture, f"Loss of {job.run}, step by step.")
    artifacts = f"runs/{job.run}/artifacts"
    job.store.put_file(f"{artifacts}/{picture.name}", picture)
    job.store.write(f"{artifacts}/{table.name}", table.read_bytes())  # the file itself goes with `put_file`
    if watch.samples:
        job.store.write(f"{artifacts}/{SAMPLES}", samples_table(watch.samples))
    name = f"runs/{job.run}/{table.name}"
    job.store.put_file(name, table)
    return f"{job.store.url}/{name}"


def training_result(
    history: History, watch: Watch, measure: Measure, start: Thing | None, package: Thing, metrics: str, steps: int
) -> dict[str, Any]:
    """What the record of a stage that trained says, whatever was trained."""
    last = history.last_validation
    return {
        "val_loss": last["validation_loss"],
        f"val_{measure}": last[f"validation_{measure}"],
        "tokens_per_second": history.tokens_per_second(),
        "data_wait_share": history.data_wait_share(),
        "mfu": history.mfu(),
        "tokens": history.tokens(),
        "steps": steps,
        "package_uri": package.uri,
        "metrics_file": metrics,
        "resumed_from": start.facts["step"] if start else None,
        **watch.document(history),
    }


def measured(history: History, numerics: Numerics, workers: Workers) -> dict[str, Any]:
    """What was predicted, as it came: bits per byte of the last look, seconds of all steps, bytes at the peak of this process.

    On a CPU the peak counts Python and torch too, half a GB; on a GPU torch's tensors alone. None where workers trained.
    """
    peak = torch.cuda.max_memory_allocated() if numerics.device == "cuda" else getrusage(RUSAGE_SELF).ru_maxrss * 1024
    return {
        "bits_per_byte": history.last_validation["validation_bits_per_byte"],
        "seconds": sum(row["tokens"] / row["tokens_per_second"] for row in history.rows),
        "memory_bytes": None if workers else peak,
    }


def last_checkpoint(job: Job) -> Thing:
    """What the training left, so that it does not matter which process trained. Raises DamagedError where it is not whole."""

    def refuse(message: str) -> None:
        raise DamagedError(message, where=job.run, mend="Run it again: it goes on from the checkpoint before.")

    checkpoint = newest(job.store, (*job.earlier_runs, job.run), refuse)
    assert checkpoint is not None, "training ends with a checkpoint"
    return checkpoint
