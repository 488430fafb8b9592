"""Training on Ray workers is the same training: the same losses, the same errors, and nothing lost when a worker dies."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import psutil
import pytest
import torch

from infra.cluster import connect
from infra.store import open_store
from infra.store.errors import InputError
from infra.store.manifest import load
from llm.events import CheckpointSaved, Event, Resumed, Sampled, StepDone, Validated, ignore
from llm.models.build import new_model
from llm.training import distributed
from llm.training.checkpoints import restore_model
from llm.training.distributed import WorkersError, train_on_workers
from llm.training.finetune import FinetuneJob, finetune
from llm.training.history import History
from llm.training.loop import DivergedError
from llm.training.pretrain import PretrainJob, pretrain
from llm.training.resume import finished

MakeJob = Callable[..., PretrainJob]
LONG = {"steps": 400, "checkpoint_every": 100, "validate_every": 0}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One for all tests of this file: starting Ray takes seconds."""
    threads = torch.get_num_threads()
    with connect(None, cpus=2, home=tmp_path_factory.mktemp("home")):
        yield
    torch.set_num_threads(threads)


def losses(history: History) -> list[float]:
    return [row["loss"] for row in history.rows]


def train_workers() -> list[psutil.Process]:
    """The processes in which the loop runs."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "RayTrainWorker" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.timeout(240)
@pytest.mark.usefixtures("cluster")
def test_one_worker_gives_bit_for_bit_the_losses_of_none(make_job: MakeJob, capfd: pytest.CaptureFixture[str]) -> None:
    seen: list[Event] = []
    alone = pretrain(make_job("alone"), ignore)
    capfd.readouterr()
    job = make_job("ray")
    on_ray = train_on_workers(pretrain, job, 1, seen.append, embedded=True)
    assert losses(on_ray) == losses(alone)
    assert [row["gradient_norm"] for row in on_ray.rows] == [row["gradient_norm"] for row in alone.rows]
    assert on_ray.last_validation["validation_loss"] == alone.last_validation["validation_loss"]
    assert [event.loss for event in seen if isinstance(event, StepDone)] == losses(alone)
    assert [event.step for event in seen if isinstance(event, CheckpointSaved)] == [4, 8, 12]
    assert [event.step for event in seen if isinstance(event, Validated)] == [4, 8, 12]
    assert capfd.readouterr() == ("", "")  # Ray's own voice stays off our terminal
    assert list(open_store(job.store_url).list("runs/ray/events")) == []


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.usefixtures("cluster")
def test_finetuning_on_workers_gives_the_losses_of_none(make_finetune_job: Callable[..., FinetuneJob]) -> None:
    alone = finetune(make_finetune_job("alone"), ignore)
    one, two = (train_on_workers(finetune, make_finetune_job(f"ray-{n}"), n, ignore, embedded=True) for n in (1, 2))
    assert losses(one) == losses(alone)
    assert one.last_validation["validation_accuracy"] == alone.last_validation["validation_accuracy"]
    torch.testing.assert_close(losses(two), losses(alone), rtol=1e-3, atol=0)  # the same batches, other rounding
    assert [row["tokens"] for row in two.rows] == [row["tokens"] for row in alone.rows]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("sharing", [{"parallel": "fsdp"}, {"tensor_parallel": 2}])
def test_workers_that_share_the_model_give_the_losses_texts_and_checkpoints_of_none(
    sharing: dict[str, Any], make_job: MakeJob
) -> None:
    alone, shared = (replace(make_job(run, **training), prompt="the") for run, training in (("alone", {}), ("shared", sharing)))
    seen: list[Event] = []
    expected, found = pretrain(alone, ignore), train_on_workers(pretrain, shared, 2, seen.append, embedded=True)
    torch.testing.assert_close(losses(found), losses(expected), rtol=1e-4, atol=0)  # the same batches, other rounding
    assert found.last_validation["validation_loss"] == pytest.approx(expected.last_validation["validation_loss"], rel=1e-4)
    assert [event.step for event in seen if isinstance(event, Sampled)] == [4, 8, 12]
    store = open_store(alone.store_url)
    for ours, theirs in zip(finished(store, ["shared"]), finished(store, ["alone"]), strict=True):
        one, other = new_model(shared.model), new_model(alone.model)
        restore_model(load(store, ours), one)
        restore_model(load(store, theirs), other)
        torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=1e-3)  # a tenth of the learning rate


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("cluster")
def test_kill_9_of_a_worker_costs_half_a_minute_and_nothing_else(
    make_job: MakeJob, record_property: Callable[[str, object], None]
) -> None:
    undisturbed = train_on_workers(pretrain, make_job("undisturbed", **LONG), 2, ignore, embedded=True)
    alone = pretrain(make_job("alone", steps=400, checkpoint_every=0, validate_every=0), ignore)
    torch.testing.assert_close(losses(undisturbed)[:10], losses(alone)[:10], rtol=1e-3, atol=0)  # the same batches, other rounding

    job, seen, killed, gone_on = make_job("killed", **LONG), list[Event](), list[float](), list[float]()
    store = open_store(job.store_url)

    def kill_after_the_first_checkpoint() -> None:
        deadline = time.monotonic() + 300
        while not finished(store, [job.run]) and time.monotonic() < deadline:
            time.sleep(0.01)
        victim = train_workers()[-1]
        victim.kill()
        killed.append(time.monotonic())

    def observe(event: Event) -> None:
        if isinstance(event, StepDone) and any(isinstance(earlier, Resumed) for earlier in seen):
            gone_on.append(time.monotonic())
        seen.append(event)

    killer = threading.Thread(target=kill_after_the_first_checkpoint)
    killer.start()
    history = train_on_workers(pretrain, job, 2, observe, embedded=True)
    killer.join()
    seconds = gone_on[0] - killed[0]
    record_property("seconds_from_kill_to_next_step", seconds)
    assert seconds <= 30
    resumed = [event.step for event in seen if isinstance(event, Resumed)]
    assert len(killed) == len(resumed) == 1
    assert resumed[0] in (100, 200, 300)
    assert losses(history) == losses(undisturbed)
    told = {event.step: event.loss for event in seen if isinstance(event, StepDone)}
    assert told.items() <= dict(enumerate(losses(history), start=1)).items()
    assert told.keys() >= set(range(resumed[0] + 1, 401))  # what came before stands in the checkpoint


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.usefixtures("cluster")
def test_an_error_of_ours_arrives_as_itself_at_the_first_try(make_job: MakeJob) -> None:
    job, tries = make_job("diverges", learning_rate=1e38, gradient_clip=0.0), list[Event]()
    with pytest.raises(DivergedError) as raised:
        train_on_workers(pretrain, job, 1, tries.append, embedded=True)
    assert raised.value.where == "pretrain"
    assert "training.learning_rate" in raised.value.mend
    steps = [event.step for event in tries if isinstance(event, StepDone)]
    assert steps == list(range(1, len(steps) + 1))  # a second try would begin again with 1


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.usefixtures("cluster")
def test_who_listens_and_gives_up_ends_the_workers(make_job: MakeJob) -> None:
    job, workers = make_job("taken over", steps=100_000, checkpoint_every=0, validate_every=0), list[psutil.Process]()

    def lost(event: Event) -> None:
        if isinstance(event, StepDone):
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.NoSuchProcess):  # others come and go
                    if "RayTrainWorker" in " ".join(process.cmdline()):
                        workers.append(process)
            raise InputError("another run has taken it over")

    with pytest.raises(InputError, match="taken it over"):
        train_on_workers(pretrain, job, 1, lost, embedded=True)
    assert workers
    assert psutil.wait_procs(workers, timeout=30)[1] == []


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.usefixtures("cluster")
def test_an_error_of_anybody_else_is_one_sentence_and_says_where_the_logs_lie(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "_RESTARTS", 0)
    job = make_job("broken")
    object.__setattr__(job.model, "vocabulary", 8)  # ids beyond the embedding
    with pytest.raises(WorkersError, match=r"^/tmp/slipway-ray-.*/logs: training on Ray workers failed \(IndexError: ") as raised:
        train_on_workers(pretrain, job, 1, ignore, embedded=True)
    assert "\n" not in raised.value.what


@pytest.mark.timeout(240)
@pytest.mark.usefixtures("cluster")
def test_more_workers_than_there_is_room_for_are_refused_instead_of_waited_for(make_job: MakeJob) -> None:
    with pytest.raises(InputError, match="3 workers need a CPU each, here are 2") as raised:
        train_on_workers(pretrain, make_job(batch_size=3), 3, ignore, embedded=True)
    assert raised.value.where == "training.workers"
