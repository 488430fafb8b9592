"""What goes wrong while a run trains costs it as little as can be: spikes, stores that are away, a machine that is wanted back."""

import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from infra.store.errors import StoreError
from infra.store.faulty import Died, Fault, FaultyStore
from infra.store.folder import FolderStore
from infra.store.manifest import load
from llm.data.batches import BatchOrder, read_batch
from llm.data.tokens import TokenStream
from llm.events import CheckpointSaved, Event, Noted, Resumed, RolledBack, Skipped, StepDone, ignore
from llm.models.config import GPT2Config
from llm.models.presets import preset
from llm.training import loop, pretrain
from llm.training.checkpoints import Checkpoints, Reader, UnsavedError
from llm.training.finetune import FinetuneJob, finetune
from llm.training.history import History
from llm.training.loop import DivergedError
from llm.training.pretrain import PretrainJob
from llm.training.random_state import random_state
from llm.training.resume import finished, newest
from llm.training.stopping import StoppedError
from llm.training.topology import Topology

MakeJob = Callable[..., PretrainJob]
QUICK = {"steps": 4, "checkpoint_every": 2, "validate_every": 0, "sequence_length": 16, "batch_size": 2}
SPIKY = {"steps": 36, "checkpoint_every": 10, "validate_every": 0, "spike_window": 16, "spike_threshold": 6.0}


class Stopped(BaseException):
    """The process is gone."""


def stop_after(step: int) -> Callable[[Event], None]:
    def observe(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == step:
            raise Stopped

    return observe


def losses(history: History) -> list[float]:
    return [row["loss"] for row in history.rows]


def the_same(history: History, other: History) -> bool:
    columns = ("step", "loss", "gradient_norm", "learning_rate", "skipped", "tokens")
    rows = [[[row[name] for name in columns] for row in each.rows] for each in (history, other)]
    return rows[0] == rows[1] and history.rollbacks == other.rollbacks


@pytest.fixture
def poison(store: FolderStore, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> Callable[[range], None]:
    """Makes nonsense of what a run with SPIKY reads at these steps (from 0), whenever it reads it."""

    def spoil(steps: range) -> None:
        job = make_job(**SPIKY)
        stream = TokenStream(load(store, job.tokens), "train")
        order = BatchOrder(len(stream), job.training.sequence_length, job.training.batch_size, job.training.seed)
        spoiled = {tuple(order.starts(step)) for step in steps}

        def read(stream: TokenStream, starts: NDArray[np.int64], length: int) -> NDArray[np.int64]:
            batch = read_batch(stream, starts, length)
            return np.full_like(batch, 319) if tuple(starts) in spoiled else batch

        monkeypatch.setattr(pretrain, "read_batch", read)

    return spoil


def test_a_spike_changes_nothing_and_stands_in_the_history(make_job: MakeJob, poison: Callable[[range], None]) -> None:
    poison(range(22, 23))
    events: list[Event] = []
    whole = pretrain.pretrain(make_job("whole", **SPIKY), events.append)
    (skipped,) = [event for event in events if isinstance(event, Skipped)]
    assert skipped.step == 23
    assert "was usual" in skipped.why
    assert [row["step"] for row in whole.rows if row["skipped"]] == [23]
    assert whole.rows[22]["loss"] > 1 + max(losses(whole)[10:22])
    assert max(losses(whole)[23:]) < max(losses(whole)[10:22])
    with pytest.raises(Stopped):
        pretrain.pretrain(make_job("cut", **SPIKY), stop_after(22))
    again = pretrain.pretrain(make_job("again", earlier_runs=("cut",), **SPIKY), ignore)
    assert the_same(again, whole)


def test_a_trouble_that_stays_is_left_out_once_and_a_run_that_is_killed_after_it_ends_the_same(
    store: FolderStore, make_job: MakeJob, poison: Callable[[range], None]
) -> None:
    poison(range(22, 28))
    events: list[Event] = []
    whole = pretrain.pretrain(make_job("whole", **SPIKY), events.append)
    (back,) = [event for event in events if isinstance(event, RolledBack)]
    assert (back.step, back.first, back.last) == (20, 21, 27)
    assert [event.step for event in events if isinstance(event, Skipped)] == [23, 24, 25, 26, 27, 21]
    assert whole.rollbacks == [{"step": 20, "first": 21, "last": 27, "why": back.why}]
    assert [row["step"] for row in whole.rows] == list(range(1, 37))
    last = newest(store, ["whole"])
    assert last is not None
    assert last.facts["rollbacks"] == whole.rollbacks
    assert last.facts["skip_steps"] == [[20, 27]]
    with pytest.raises(Stopped):
        pretrain.pretrain(make_job("cut", **SPIKY), stop_after(24))  # made after the way back alone
    again = pretrain.pretrain(make_job("again", earlier_runs=("cut",), **SPIKY), ignore)
    assert the_same(again, whole)


def test_a_trouble_without_end_stops_the_run_after_two_tries_with_a_sentence(
    store: FolderStore, make_job: MakeJob, poison: Callable[[range], None]
) -> None:
    poison(range(22, 60))
    events: list[Event] = []
    with pytest.raises(DivergedError, match=r"at step 25; it is so since step 21 .* went back 2 times") as raised:
        pretrain.pretrain(make_job(**SPIKY), events.append)
    assert "\n" not in raised.value.what
    assert [(event.first, event.last) for event in events if isinstance(event, RolledBack)] == [(21, 27), (21, 25)]
    assert [name.rsplit("-", 1)[-1] for name in finished(store, ["pretrain-a-1"])] == ["00000010", "00000020"]


def with_dropout(job: PretrainJob) -> PretrainJob:
    model = preset("gpt2-tiny", vocabulary=320, context_length=32)
    assert isinstance(model, GPT2Config)
    return replace(job, model=replace(model, dropout=0.3))


def test_dropout_goes_on_where_it_stood(make_job: MakeJob) -> None:
    settings = {"steps": 8, "validate_every": 0}
    whole = pretrain.pretrain(with_dropout(make_job("whole", **settings)), ignore)
    with pytest.raises(Stopped):
        pretrain.pretrain(with_dropout(make_job("cut", **settings)), stop_after(6))
    torch.rand(1000)  # another process stands elsewhere
    again = pretrain.pretrain(with_dropout(make_job("again", earlier_runs=("cut",), **settings)), ignore)
    assert the_same(again, whole)
    without = replace(make_job("none", **settings), model=preset("gpt2-tiny", vocabulary=320, context_length=32))
    assert losses(pretrain.pretrain(without, ignore)) != losses(whole), "else this test shows nothing"


def test_a_worker_that_the_checkpoint_does_not_know_begins_from_seed_step_and_rank(store: FolderStore, tmp_path: Path) -> None:
    state = {"model.weight": torch.ones(3)}
    name = Checkpoints(store, "a", tmp_path / "scratch").save(7, state, History(), {"shares": 1})
    stands = []
    for rank, seed in ((1, 5), (1, 5), (2, 5), (1, 6)):
        reader = Reader("pretrain", "cpu", seed)
        replace(reader, topology=Topology(rank, 1)).restore(load(store, name), {"model.weight": torch.zeros(3)}, {})
        stands.append(random_state("cpu")["torch"].tolist())
    assert stands[0] == stands[1]
    assert len({tuple(stand) for stand in stands}) == 3


@pytest.mark.parametrize("kind", ["pretrain", "finetune"])
def test_a_run_that_goes_on_at_the_boundary_of_an_epoch_is_the_undisturbed_one(
    store: FolderStore, make_job: MakeJob, make_finetune_job: Callable[..., FinetuneJob], kind: str
) -> None:
    if kind == "pretrain":
        stream = TokenStream(load(store, make_job().tokens), "train")
        rows = BatchOrder(len(stream), 32, 1, 1).rows_per_epoch
        batch = next(size for size in range(rows // 5, 0, -1) if rows % size == 0)
        make: Any = make_job
        train: Any = pretrain.pretrain
    else:
        make, train, rows, batch = make_finetune_job, finetune, 48, 8
    epoch = rows // batch
    settings = {"steps": epoch + 2, "batch_size": batch, "checkpoint_every": epoch, "validate_every": 0}
    whole = train(make("whole", **settings), ignore)
    with pytest.raises(Stopped):
        train(make("cut", **settings), stop_after(epoch + 1))
    events: list[Event] = []
    again = train(make("again", earlier_runs=("cut",), **settings), events.append)
    assert [event.step for event in events if isinstance(event, Resumed)] == [epoch]
    assert the_same(again, whole)


def test_a_step_waits_for_the_copy_and_not_for_the_writing(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    save, trained_on, order = Checkpoints.save, threading.Event(), list[str]()

    def slowly(self: Checkpoints, step: int, *arguments: Any) -> str:
        if step == 4:
            assert trained_on.wait(60), "training waits for the writing"
        name = save(self, step, *arguments)
        order.append(f"saved {step}")
        return name

    def observe(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 6:
            order.append("trained 6")
            trained_on.set()

    monkeypatch.setattr(Checkpoints, "save", slowly)
    held = pretrain.pretrain(make_job("held", steps=8), observe)
    assert order == ["trained 6", "saved 4", "saved 8"]
    monkeypatch.undo()
    with pytest.raises(Stopped):
        pretrain.pretrain(make_job("cut", steps=8), stop_after(7))
    again = pretrain.pretrain(make_job("again", steps=8, earlier_runs=("cut", "held")), ignore)
    assert the_same(again, held)


def test_the_newest_stay_and_every_so_manieth_for_good(store: FolderStore, make_job: MakeJob) -> None:
    pretrain.pretrain(make_job(**QUICK | {"steps": 10, "keep_checkpoints": 1, "keep_every": 4}), ignore)
    assert [int(name.rsplit("-", 1)[-1]) for name in finished(store, ["pretrain-a-1"])] == [4, 8, 10]


def test_a_write_that_fails_costs_its_checkpoint_alone_and_the_last_one_is_tried_again(
    store: FolderStore, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = FaultyStore(store)
    monkeypatch.setattr(loop, "open_store", lambda url: counting)
    whole = pretrain.pretrain(make_job("whole", **QUICK), ignore)
    assert counting.writes > 8
    for at in range(1, counting.writes + 1):
        faulty = FaultyStore(store, at=at)
        monkeypatch.setattr(loop, "open_store", lambda url, faulty=faulty: faulty)
        events: list[Event] = []
        assert the_same(pretrain.pretrain(make_job(f"run-{at}", **QUICK), events.append), whole)
        said = [event.message for event in events if isinstance(event, Noted)]
        assert len(said) == 1, f"write {at}: {said}"
        assert f"write {at} fails, as asked" in said[0]
        saved = [event.step for event in events if isinstance(event, CheckpointSaved)]
        assert saved == ([4] if "step 2 could not be saved" in said[0] else [2, 4])
        last = newest(store, [f"run-{at}"])
        assert last is not None
        assert last.facts["step"] == 4
        half = {entry.name.split("/")[3] for entry in store.list(f"runs/run-{at}/checkpoints")}
        assert len(half) == len(saved), "nothing is left of what could not be saved"


def test_a_run_that_dies_at_any_write_goes_on_with_the_losses_of_an_undisturbed_one(
    store: FolderStore, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = FaultyStore(store)
    monkeypatch.setattr(loop, "open_store", lambda url: counting)
    whole = pretrain.pretrain(make_job("whole", **QUICK), ignore)
    for at in range(1, counting.writes + 1):
        faulty = FaultyStore(store, at=at, fault=Fault.DIE_AFTER)
        monkeypatch.setattr(loop, "open_store", lambda url, faulty=faulty: faulty)
        with pytest.raises(Died):
            pretrain.pretrain(make_job(f"run-{at}", **QUICK), ignore)
        monkeypatch.setattr(loop, "open_store", lambda url: store)
        assert the_same(pretrain.pretrain(make_job(f"run-{at}-2", earlier_runs=(f"run-{at}",), **QUICK), ignore), whole)


def test_a_store_that_stays_away_fails_the_run_at_its_end_with_a_sentence(
    store: FolderStore, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str, path: Path) -> None:
        raise StoreError("the store cannot be written (no space left on device)", where=name)

    away = FaultyStore(store)
    monkeypatch.setattr(loop, "open_store", lambda url: away)
    monkeypatch.setattr(loop, "_PATIENCE", 0.0)
    monkeypatch.setattr(away, "put_file", refuse)
    events: list[Event] = []
    with pytest.raises(UnsavedError, match="the checkpoint of step 4 cannot be saved.*no space left") as raised:
        pretrain.pretrain(make_job(**QUICK), events.append)
    assert raised.value.exit_code == 2
    assert [event.step for event in events if isinstance(event, StepDone)] == [1, 2, 3, 4]
    assert any("checkpoint of step 2 could not be saved" in event.message for event in events if isinstance(event, Noted))


def test_sigterm_leaves_a_checkpoint_of_the_step_and_the_run_goes_on_from_it(store: FolderStore, make_job: MakeJob) -> None:
    whole = pretrain.pretrain(make_job("whole"), ignore)
    before = signal.getsignal(signal.SIGTERM)

    def observe(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 5:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(StoppedError, match=r"after step 6 of 12, which is saved") as raised:
        pretrain.pretrain(make_job("cut"), observe)
    assert raised.value.exit_code == 130
    assert "step 7" in raised.value.mend
    assert signal.getsignal(signal.SIGTERM) is before
    events: list[Event] = []
    again = pretrain.pretrain(make_job("again", earlier_runs=("cut",)), events.append)
    assert [event.step for event in events if isinstance(event, Resumed)] == [6]
    assert the_same(again, whole)
