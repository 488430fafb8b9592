"""Training on Ray workers (Ray Train): the loop that also runs in-process, once in each worker.

Ray starts the workers and starts them again when one dies; where they go on is read from our own checkpoints, never from Ray's.
"""

import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError
from ray.train.torch.config import TorchConfig, _TorchBackend
from ray.train.v2._internal.execution.failure_handling import DefaultFailurePolicy, FailureDecision
from ray.train.v2.api.config import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError
from ray.train.v2.torch.torch_trainer import TorchTrainer

from infra.store import open_store
from infra.store.code import check_installed, installed
from infra.store.errors import InputError, SlipwayError
from infra.store.folder import FolderStore
from llm.events import Observer, ignore
from llm.training.channel import Receiver, Sender
from llm.training.history import History
from llm.training.interface import speak_from
from llm.training.job import TrainingJob
from llm.training.resume import newest
from llm.training.topology import Topology

J = TypeVar("J", bound=TrainingJob)
_RESTARTS: Final = 3
_ABORT_SECONDS: Final = 5.0
_WITHOUT: Final = ("DatasetsCallback", "PlacementGroupCleanerCallback")  # an actor each, for Ray Data and for a shared cluster


class WorkersError(SlipwayError):
    """Training on Ray failed, and not for a reason of ours."""

    code = "workers"


def train_on_workers(
    train: Callable[[J, Observer, Topology], History], job: J, workers: int, observe: Observer, *, embedded: bool
) -> History:
    """`train(job, ...)` on `workers` of the connected Ray cluster (`infra.cluster.connect`), gloo between CPUs, nccl between GPUs.

    train: a function of a module, such as `pretrain`: each worker imports it and calls it with its own place among them.
    embedded: the cluster lives on this machine and ends with us, so that what guards a shared one is left out.
    observe: called in another thread while this one waits. When a worker died and training went back to the last checkpoint,
    it is told steps again, or not at all of those that were on their way: they stand in the checkpoint that `Resumed` names.
    Raises what the loop raised in a worker if that is a SlipwayError, else WorkersError.
    """
    store = open_store(job.store_url)
    _check_room(job, workers, embedded=embedded)
    trainer = _Trainer(
        _work,
        train_loop_config={"train": train, "job": job, "code": installed()},
        torch_config=_Torch(),
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=job.numerics.device == "cuda"),
        run_config=RunConfig(
            name=f"{job.run}-{uuid.uuid4().hex[:8]}",  # Ray goes on silently with a run whose name it knows
            storage_path=str(job.scratch / "ray"),
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    )
    trainer.embedded = embedded
    with Receiver(store, job.run, observe):
        _fit(trainer)
    last = newest(store, (*job.earlier_runs, job.run))
    assert last is not None, "training ends with a checkpoint"
    return History.of(last)


def _work(config: Mapping[str, Any]) -> None:
    """What each worker runs. Only the first has anything to say."""
    check_installed(config["code"])
    train, job = config["train"], config["job"]
    context = ray.train.get_context()
    topology = Topology(context.get_world_rank(), context.get_world_size())
    if not topology.leads:
        train(job, ignore, topology)
        return
    with Sender(open_store(job.store_url), job.run) as send:
        train(job, send, topology)


class _Trainer(TorchTrainer):
    """Ray's trainer, but for what it retries, for Ctrl-C, and for the actors that nobody here needs."""

    embedded = False
    controller: ActorHandle[Any] | None = None

    def _create_default_callbacks(self) -> list[Any]:
        callbacks = super()._create_default_callbacks()
        return [callback for callback in callbacks if not (self.embedded and type(callback).__name__ in _WITHOUT)]

    def _initialize_and_run_controller(self, **options: Any) -> Any:
        policy = _FailurePolicy(FailureConfig(max_failures=_RESTARTS))
        return super()._initialize_and_run_controller(**options | {"failure_policy": policy})

    def _register_sigint_handler(self, controller: ActorHandle[Any]) -> None:
        self.controller = controller  # Ray would keep SIGINT for good, and leave with an exit code of its own


class _Torch(TorchConfig):
    """Ray's way to join the workers, but over the network that Ray itself uses."""

    @property
    def backend_cls(self) -> type[_TorchBackend]:
        return _Backend


class _Backend(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        worker_group.execute(_speak_as_ray_does)
        super().on_start(worker_group, backend_config)


def _speak_as_ray_does() -> None:
    speak_from(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


class _FailurePolicy(DefaultFailurePolicy):
    """An error that has a sentence for a person comes again however often one tries: only the others are tried again."""

    def make_decision(self, training_failed_error: TrainingFailedError) -> FailureDecision:
        if _ours(training_failed_error) is not None:
            return FailureDecision.RAISE
        return super().make_decision(training_failed_error)


def _fit(trainer: _Trainer) -> None:
    try:
        trainer.fit()
    except (TrainingFailedError, RayError) as error:
        if (ours := _ours(error)) is not None:
            raise ours from None
        raise WorkersError(
            f"training on Ray workers failed ({_reason(error)})",
            where=_logs(),
            mend="Ray's logs there say more. Start again to go on from the last checkpoint.",
        ) from error
    except BaseException:  # Ctrl-C among them
        if trainer.controller is not None:
            with suppress(RayError):
                ray.get(trainer.controller.abort.remote(), timeout=_ABORT_SECONDS)
        raise


def _ours(error: Exception) -> SlipwayError | None:
    failures = error.worker_failures.values() if isinstance(error, WorkerGroupError) else ()
    return next((failure for failure in failures if isinstance(failure, SlipwayError)), None)


def _reason(error: Exception) -> str:
    cause = next(iter(error.worker_failures.values()), error) if isinstance(error, WorkerGroupError) else error
    return (
        f"{type(cause).__name__}: {str(cause).strip().splitlines()[0].rstrip('.')}" if str(cause).strip() else type(cause).__name__
    )


def _logs() -> str:
    node = ray._private.worker.global_worker.node
    return str(node.get_logs_dir_path()) if node else ""


def _check_room(job: TrainingJob, workers: int, *, embedded: bool) -> None:
    """Refuses what would wait for ever, or fail in a worker: too few GPUs here, a folder that other machines do not see."""
    resource = "GPU" if job.numerics.device == "cuda" else "CPU"
    there = int(ray.cluster_resources().get(resource, 0))  # type: ignore[no-untyped-call]
    if embedded and there < workers:
        raise InputError(
            f"{workers} workers need a {resource} each, here are {there}",
            where="training.workers",
            mend=f"Set it to {there} or less.",
        )
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    machines = {node["NodeManagerHostname"] for node in nodes if node["Alive"]}
    if len(machines) > 1 and isinstance(open_store(job.store_url), FolderStore):
        raise InputError(
            "the store is a folder, which the cluster's other machines do not see",
            where=job.store_url,
            mend="Set SLIPWAY_STORE to a bucket that all of them reach, or unset RAY_ADDRESS.",
        )
