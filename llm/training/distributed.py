"""Training on Ray workers (Ray Train): the loop that also runs in-process, once in each worker.

Ray starts the workers and starts them again when one dies (`llm.training.distributed_restarts`); where they go on is read from
our own checkpoints, never from Ray's.
"""

import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import Any, Final, TypeVar, cast

import ray
from ray import ObjectRef
from ray.actor import ActorHandle
from ray.exceptions import ActorDiedError, RayError
from ray.train.torch.config import TorchConfig, _TorchBackend
from ray.train.v2._internal.constants import get_env_vars_to_propagate
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2.api.config import LoggingConfig, RunConfig, ScalingConfig
from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError
from ray.train.v2.torch.torch_trainer import TorchTrainer

from infra.store import open_store
from infra.store.code import check_installed, installed
from infra.store.errors import InputError, SlipwayError
from infra.store.folder import FolderStore
from llm.events import Noted, Observer, ignore
from llm.training.channel import Receiver, Sender
from llm.training.distributed_restarts import Places, Restarts, ours
from llm.training.history import History
from llm.training.interface import speak_from
from llm.training.job import TrainingJob
from llm.training.resume import finished, newest
from llm.training.stopping import ask, asked, on_sigterm
from llm.training.topology import Topology
from llm.training.worker_counts import Workers, fewest, worker_counts

J = TypeVar("J", bound=TrainingJob)
_RESTARTS: Final = 3
_ABORT_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.5
_HEAD: Final = {"gcs_server", "raylet"}
_AGAIN: Final = "Ray's logs there say more. Start again to go on from the last checkpoint."
_WITHOUT: Final = ("DatasetsCallback", "PlacementGroupCleanerCallback")  # an actor each, for Ray Data and for a shared cluster


class WorkersError(SlipwayError):
    """Training on Ray failed, and not for a reason of ours."""

    code = "workers"


class HeadLostError(WorkersError):
    """The head of a cluster of our own died, and with it all that ran there: another cluster can go on."""

    code = "head-lost"


class _ControllerDiedError(WorkersError):
    """Ray Train's own process died, and its workers with it."""


def train_on_workers(
    train: Callable[[J, Observer, Topology], History], job: J, workers: Workers, observe: Observer, *, embedded: bool
) -> History:
    """`train(job, ...)` on `workers` of the connected Ray cluster (`infra.cluster.connect`), gloo between CPUs, nccl between GPUs.

    workers: how many, or the fewest and the most: then as many as there is room for, looked at anew whenever one has died.
    train: a function of a module, such as `pretrain`: each worker imports it and calls it with its own place among them.
    embedded: the cluster lives on this machine and ends with us, so that what guards a shared one is left out.
    observe: called in another thread while this one waits. When a worker died and training went back to the last checkpoint,
    it is told steps again, or not at all of those that were on their way: they stand in the checkpoint that `Resumed` names.
    SIGTERM stops the workers after their step, with a checkpoint; an error of `observe` ends them at once, and is raised.
    Raises what the loop raised in a worker if that is a SlipwayError, HeadLostError when an embedded cluster's head died, else
    WorkersError.
    """
    store = open_store(job.store_url)
    _check_room(job, workers, embedded=embedded)
    with Receiver(store, job.run, observe) as receiver:
        for left in reversed(range(_RESTARTS + 1)):
            trainer = _trainer(train, job, workers, embedded=embedded)
            trainer.check = receiver.check
            try:
                _fit(trainer)
                break
            except _ControllerDiedError:
                if not left:
                    raise
                observe(Noted("the process that watches over the workers died; they start again, from the newest checkpoint"))
    last = newest(store, (*job.earlier_runs, job.run))
    assert last is not None, "training ends with a checkpoint"
    return History.of(last)


def _trainer(train: Callable[[J, Observer, Topology], History], job: J, workers: Workers, *, embedded: bool) -> "_Trainer":
    scaling = ScalingConfig(num_workers=workers, use_gpu=job.numerics.device == "cuda")
    trainer = _Trainer(
        _work,
        train_loop_config={"train": train, "job": job, "workers": workers, "code": installed()},
        torch_config=_Torch(),
        scaling_config=scaling,
        run_config=RunConfig(
            name=f"{job.run}-{uuid.uuid4().hex[:8]}",  # Ray goes on silently with a run whose name it knows
            storage_path=str(job.scratch / "ray"),
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    )
    trainer.embedded = embedded
    training = job.training
    counts = worker_counts(workers, training.batch_size, training.tensor_parallel, training.shard_size)
    trainer.policies = {
        "failure_policy": Restarts(_RESTARTS, partial(_newest, job.store_url, job.run)),
        "scaling_policy": Places(scaling, counts, asks=not embedded),
    }
    return trainer


def _newest(store_url: str, run: str) -> str:
    return (finished(open_store(store_url), [run]) or [""])[-1]


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
        if not isinstance(config["workers"], int):
            send(Noted("on {} of {} to {} workers".format(topology.world, *config["workers"])))
        train(job, send, topology)


class _Trainer(TorchTrainer):
    """Ray's trainer, but for what it retries, for Ctrl-C, and for the actors that nobody here needs."""

    embedded = False
    controller: ActorHandle[Any] | None = None
    policies: Mapping[str, Any] = MappingProxyType({})
    check: Callable[[], None] = staticmethod(lambda: None)  # raises where nobody is to wait for the workers any more

    def _create_default_callbacks(self) -> list[Any]:
        callbacks = super()._create_default_callbacks()
        return [callback for callback in callbacks if not (self.embedded and type(callback).__name__ in _WITHOUT)]

    def _initialize_and_run_controller(self, **options: Any) -> Any:
        """As Ray's own, which waits without looking at the head, and keeps SIGINT for good."""
        here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
        environment = {"RAY_WARN_BLOCKING_GET_INSIDE_ASYNC": "0", **get_env_vars_to_propagate()}
        remote = ray.remote(num_cpus=0, label_selector=here, runtime_env={"env_vars": environment})(_Controller)
        self.controller = controller = cast("ActorHandle[Any]", remote.remote(**{**options, **self.policies}))
        running: ObjectRef[None] = controller.run.remote()
        with on_sigterm():
            while not ray.wait([running], timeout=_LOOK_SECONDS)[0]:
                _check_head()
                self.check()
                if asked():
                    controller.stop.remote()
        ray.get(running)
        return ray.get(controller.get_result.remote())


class _Controller(TrainController):
    """Ray's, which can also have the workers stop after their step (`llm.training.stopping`)."""

    async def stop(self) -> None:
        if self._worker_group is not None:
            for worker in self._worker_group.get_workers():
                worker.execute_async(ask)


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


def _fit(trainer: _Trainer) -> None:
    try:
        trainer.fit()
    except HeadLostError:
        raise  # there is nobody left to abort
    except (TrainingFailedError, RayError) as error:
        if (sentence := ours(error)) is not None:
            raise sentence from None
        kind = _ControllerDiedError if isinstance(error, ActorDiedError) else WorkersError
        raise kind(
            f"training on Ray workers failed ({_reason(error)})",
            where=_logs(),
            mend=_AGAIN,
        ) from error
    except BaseException:  # Ctrl-C among them
        if trainer.controller is not None:
            with suppress(RayError):
                ray.get(trainer.controller.abort.remote(), timeout=_ABORT_SECONDS)
        raise


def _check_head() -> None:
    """Raises HeadLostError when the head that this process started died: Ray would wait, or end this process after a minute."""
    node = ray._private.worker.global_worker.node
    dead = {kind for kind, _ in node.dead_processes()} & _HEAD if node else set()
    if dead:
        raise HeadLostError(f"the head of the Ray cluster died ({', '.join(sorted(dead))})", where=_logs(), mend=_AGAIN)


def _reason(error: Exception) -> str:
    cause = next(iter(error.worker_failures.values()), error) if isinstance(error, WorkerGroupError) else error
    return (
        f"{type(cause).__name__}: {str(cause).strip().splitlines()[0].rstrip('.')}" if str(cause).strip() else type(cause).__name__
    )


def _logs() -> str:
    node = ray._private.worker.global_worker.node
    return str(node.get_logs_dir_path()) if node else ""


def _check_room(job: TrainingJob, workers: Workers, *, embedded: bool) -> None:
    """Refuses what would wait for ever, or fail in a worker: too few GPUs here, a folder that other machines do not see."""
    resource = "GPU" if job.numerics.device == "cuda" else "CPU"
    there = int(ray.cluster_resources().get(resource, 0))  # type: ignore[no-untyped-call]
    if embedded and there < fewest(workers):
        raise InputError(
            f"{fewest(workers)} workers need a {resource} each, here are {there}",
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
