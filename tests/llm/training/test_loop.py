"""The loop learns, and a run that was stopped anywhere ends as if it never had been."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from infra.store.errors import DamagedError, InputError
from infra.store.folder import FolderStore
from infra.store.manifest import load
from llm.events import CheckpointSaved, Event, Noted, Resumed, StepDone, Validated, ignore
from llm.models.build import new_model
from llm.models.presets import preset
from llm.training.checkpoints import restore_model
from llm.training.history import History
from llm.training.loop import DivergedError
from llm.training.pretrain import PretrainJob, pretrain
from llm.training.resume import finished, newest

MakeJob = Callable[..., PretrainJob]


class Stopped(BaseException):
    """The process is gone."""


def stop_after(step: int) -> Callable[[Event], None]:
    def observe(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == step:
            raise Stopped

    return observe


def column(history: History, name: str) -> list[float | None]:
    return [row[name] for row in history.rows]


def weights(store: FolderStore, job: PretrainJob) -> dict[str, torch.Tensor]:
    model, last = new_model(job.model), newest(store, [job.run])
    assert last is not None
    restore_model(last, model)
    return model.state_dict()


def test_training_learns_and_tells_what_it_does(store: FolderStore, make_job: MakeJob) -> None:
    events: list[Event] = []
    history = pretrain(make_job(steps=40), events.append)
    losses = [row["loss"] for row in history.rows]
    assert losses[0] > 5.5
    assert losses[-1] < 0.75 * losses[0]
    steps = [event for event in events if isinstance(event, StepDone)]
    assert [event.step for event in steps] == list(range(1, 41))
    assert steps[-1].tokens_seen == 40 * 4 * 32
    looks = [event for event in events if isinstance(event, Validated)]
    assert [look.step for look in looks] == list(range(4, 41, 4))
    assert looks[-1].value < looks[0].value
    assert [event.step for event in events if isinstance(event, CheckpointSaved)] == list(range(4, 41, 4))


def test_a_gpt2_learns_as_a_llama_does(make_job: MakeJob) -> None:
    job = replace(make_job(steps=40), model=preset("gpt2-tiny", vocabulary=320, context_length=32))
    losses = [row["loss"] for row in pretrain(job, ignore).rows]
    assert losses[0] > 5.5
    assert losses[-1] < 0.75 * losses[0]


@pytest.mark.parametrize("stop", [3, 5, 12])
def test_a_run_stopped_at_any_step_ends_as_if_undisturbed_bit_for_bit(store: FolderStore, make_job: MakeJob, stop: int) -> None:
    whole = pretrain(make_job("pretrain-whole-1"), ignore)
    with pytest.raises(Stopped):
        pretrain(make_job("pretrain-cut-1"), stop_after(stop))
    events: list[Event] = []
    again = make_job("pretrain-cut-2", earlier_runs=("pretrain-cut-1",))
    history = pretrain(again, events.append)
    assert [event.step for event in events if isinstance(event, Resumed)] == ([] if stop <= 4 else [(stop - 1) // 4 * 4])
    for name in ("loss", "gradient_norm", "learning_rate", "validation_loss"):
        assert column(history, name) == column(whole, name)
    kept, expected = weights(store, again), weights(store, make_job("pretrain-whole-1"))
    assert all(torch.equal(kept[name], expected[name]) for name in expected)


def test_a_finished_run_started_again_trains_nothing(make_job: MakeJob) -> None:
    first = pretrain(make_job(), ignore)
    events: list[Event] = []
    assert pretrain(make_job(), events.append).rows == first.rows
    assert not [event for event in events if isinstance(event, StepDone)]


def test_only_the_newest_checkpoints_are_kept(store: FolderStore, make_job: MakeJob) -> None:
    pretrain(make_job(), ignore)
    assert [name.rsplit("-", 1)[-1] for name in finished(store, ["pretrain-a-1"])] == ["00000008", "00000012"]


@pytest.mark.parametrize("file", [".metadata", "__0_0.distcp", "manifest.json", "history.parquet"])
def test_a_damaged_checkpoint_is_passed_over_with_a_message_for_the_one_before(
    store: FolderStore, make_job: MakeJob, file: str
) -> None:
    whole = pretrain(make_job(), ignore)
    names = finished(store, ["pretrain-a-1"])
    path = store.root / names[-1] / file
    path.write_bytes(path.read_bytes()[:-1])
    events: list[Event] = []
    again = pretrain(make_job("pretrain-a-2", earlier_runs=("pretrain-a-1",)), events.append)
    assert [event.name for event in events if isinstance(event, Resumed)] == [names[-2]]
    (said,) = [event.message for event in events if isinstance(event, Noted)]
    assert f"step-00000012/{file}" in said
    assert "passed over" in said
    assert column(again, "loss") == column(whole, "loss")


def test_where_no_checkpoint_is_whole_training_begins_anew_and_says_so(store: FolderStore, make_job: MakeJob) -> None:
    whole = pretrain(make_job(), ignore)
    for name in finished(store, ["pretrain-a-1"]):
        (store.root / name / ".metadata").write_bytes(b"another pickle")
    events: list[Event] = []
    again = pretrain(make_job("pretrain-a-2", earlier_runs=("pretrain-a-1",)), events.append)
    assert not [event for event in events if isinstance(event, Resumed)]
    assert [event.message for event in events if isinstance(event, Noted)][-1].startswith("no checkpoint is whole, of 2")
    assert column(again, "loss") == column(whole, "loss")


def test_a_pickle_that_no_manifest_names_is_never_read(store: FolderStore, make_job: MakeJob) -> None:
    pretrain(make_job(), ignore)
    name = finished(store, ["pretrain-a-1"])[-1]
    manifest = json.loads(store.read(f"{name}/manifest.json"))
    del manifest["files"][".metadata"]
    store.write(f"{name}/manifest.json", json.dumps(manifest).encode())
    found = newest(store, ["pretrain-a-1"])
    assert found is not None
    assert found.facts["step"] == 8
    with pytest.raises(DamagedError, match=r"does not name \.metadata"):
        restore_model(load(store, name), new_model(make_job().model))


def test_a_checkpoint_of_other_data_is_refused(store: FolderStore, make_job: MakeJob, tmp_path: Path) -> None:
    pretrain(make_job(), ignore)
    checkpoint = newest(store, ["pretrain-a-1"])
    assert checkpoint is not None
    text = store.read(f"{checkpoint.prefix}/manifest.json").replace(
        load(store, "datasets/sentences/1").version.encode(), b"0123456789abcdef"
    )
    store.write(f"{checkpoint.prefix}/manifest.json", text)
    with pytest.raises(InputError, match="another dataset"):
        pretrain(make_job(), ignore)


def test_a_loss_that_is_no_number_stops_the_run_with_its_step(make_job: MakeJob) -> None:
    with pytest.raises(DivergedError, match=r"at step \d+"):
        pretrain(make_job(learning_rate=1e30), ignore)


def test_the_table_of_metrics_comes_back_from_its_file(make_job: MakeJob, tmp_path: Path) -> None:
    history = pretrain(make_job(), ignore)
    history.write(tmp_path / "metrics.parquet")
    again = History.read(tmp_path / "metrics.parquet")
    assert column(again, "loss") == column(history, "loss")
    assert again.last_validation["step"] == 12
    assert again.tokens() == 12 * 4 * 32
