"""Whoever makes progress is not given up, and a run whose workers may be fewer goes on where a machine is lost."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch
from ray.cluster_utils import Cluster
from ray.train.v2._internal.execution.failure_handling import FailureDecision
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

from infra.cluster import connect
from infra.store import open_store
from infra.store.errors import DamagedError
from llm.events import Event, Noted, StepDone, ignore
from llm.training.config import FinetuneConfig, TrainingConfig
from llm.training.distributed import train_on_workers
from llm.training.distributed_restarts import Restarts
from llm.training.pretrain import PretrainJob, pretrain
from llm.training.resume import finished
from llm.training.worker_counts import worker_counts

DEATH = RuntimeError("connection closed by peer")


def decisions(policy: Restarts, tries: int) -> list[FailureDecision]:
    return [policy.make_decision(WorkerGroupError("", {1: DEATH})) for _ in range(tries)]


def test_what_may_pass_is_tried_three_times_from_one_checkpoint() -> None:
    newest = ["step-1"]
    policy = Restarts(3, lambda: newest[-1])
    assert decisions(policy, 4) == [FailureDecision.RETRY] * 3 + [FailureDecision.RAISE]
    newest.append("step-2")
    assert decisions(policy, 4) == [FailureDecision.RETRY] * 3 + [FailureDecision.RAISE]


def test_a_machine_that_is_lost_before_its_workers_train_costs_a_try_too() -> None:
    policy = Restarts(3, lambda: "")
    found = [policy.make_decision(ControllerError(RuntimeError("gloo: connection refused"))) for _ in range(4)]
    assert found == [FailureDecision.RETRY] * 3 + [FailureDecision.RAISE]


def test_what_comes_again_is_not_tried_again() -> None:
    error = WorkerGroupError("", {0: DamagedError("damaged"), 1: DEATH})
    assert Restarts(3, lambda: "").make_decision(error) is FailureDecision.RAISE


@pytest.mark.parametrize(("workers", "counts"), [(0, ()), (2, (2,)), (3, ()), ((1, 4), (1, 2, 4)), ((2, 3), (2,)), ((5, 7), ())])
def test_only_workers_among_which_a_batch_divides_are_taken(workers: int | tuple[int, int], counts: tuple[int, ...]) -> None:
    assert worker_counts(workers, batch_size=8) == counts


@pytest.mark.parametrize("workers", [-1, (2, 1), (0, 2), 3, (3, 3)])
@pytest.mark.parametrize("config", [TrainingConfig, FinetuneConfig])
def test_workers_that_can_never_train_are_said_before(
    config: type[TrainingConfig] | type[FinetuneConfig], workers: int | tuple[int, int]
) -> None:
    (problem,) = config(steps=1, batch_size=8, workers=workers).problems()
    assert "workers" in problem


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_lost_machine_leaves_fewer_workers_and_a_new_one_is_used_at_the_next_restart(
    make_job: Callable[..., PretrainJob], tmp_path: Path
) -> None:
    common = {"steps": 400, "validate_every": 0, "learning_rate": 1e-3}  # a higher one lets what was rounded otherwise grow
    alone = pretrain(make_job("alone", checkpoint_every=0, **common), ignore)
    job, said, steps = make_job("elastic", checkpoint_every=50, **common), list[str](), threading.Event()
    store, cluster = open_store(job.store_url), Cluster(True, head_node_args={"num_cpus": 1}, shutdown_at_exit=False)
    other = cluster.add_node(num_cpus=1)

    def checkpoint() -> None:
        """Waits for one more."""
        there, deadline = finished(store, [job.run])[-1:], time.monotonic() + 200
        while finished(store, [job.run])[-1:] == there and time.monotonic() < deadline:
            time.sleep(0.02)

    def disturb() -> None:
        checkpoint()
        cluster.remove_node(other, allow_graceful=False)
        steps.wait(200)  # it trains on one
        cluster.add_node(num_cpus=1)
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # others come and go
                if "RayTrainWorker" in " ".join(process.cmdline()):
                    process.kill()

    def observe(event: Event) -> None:
        match event:
            case Noted():
                said.append(event.message)
            case StepDone() if event.workers == 1:
                steps.set()

    threads, disturber = torch.get_num_threads(), threading.Thread(target=disturb)
    try:
        with connect(cluster.address, cpus=2, home=tmp_path / "home"):
            disturber.start()
            history = train_on_workers(pretrain, job, (1, 2), observe, embedded=False)
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]
        torch.set_num_threads(threads)
    disturber.join()
    assert [note for note in said if "workers" in note] == [f"on {count} of 1 to 2 workers" for count in (2, 1, 2)]
    losses, expected = ([row["loss"] for row in each.rows] for each in (history, alone))
    torch.testing.assert_close(losses, expected, rtol=1e-3, atol=0)
