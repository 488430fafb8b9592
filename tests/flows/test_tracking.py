"""The curve that MLflow gets of a run is whole, whatever was interrupted."""

from dataclasses import replace
from pathlib import Path

import pytest

from flows.tracking import Curve
from infra.store.folder import FolderStore
from infra.store.manifest import publish
from infra.tracking.spool import Spool, records
from llm.events import Restarted, Resumed, RolledBack, Skipped, Spent, StepDone, Validated
from llm.training.history import FILE, History


def done(step: int) -> StepDone:
    return StepDone(step, 9, 10.0 - step, 32, 32 * step, 1e-3, 0.5, 0.01)


def checkpoint(store: FolderStore, folder: Path, step: int) -> str:
    """One at `step`, with a validation at step 2, under its name in the store."""
    history = History()
    for number in range(1, step + 1):
        history.add(done(number))
        if number == 2:
            history.add_validation(Validated(2, 8.0, "bits_per_byte", 2.5))
    folder.mkdir()
    history.write(folder / FILE)
    return publish(store, f"runs/pretrain-a-1/checkpoints/step-{step:08d}", folder, {}).prefix


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", "pretrain-a-2")


def curve(spool: Spool, name: str) -> list[tuple[int, float]]:
    """Every value that was spooled under a name, doubles too."""
    spooled = [record for record, _ in records(spool.path) if record["kind"] == "metrics"]
    return [(record["step"], record["values"][name]) for record in spooled if name in record["values"]]


def test_a_run_that_goes_on_for_a_killed_one_has_the_steps_before_it(store: FolderStore, tmp_path: Path, spool: Spool) -> None:
    tell = Curve(spool, store.url)
    tell(Resumed(4, checkpoint(store, tmp_path / "checkpoint", 4)))
    tell(done(5))
    tell(Validated(5, 5.0, "bits_per_byte", 2.0))
    assert curve(spool, "loss") == [(step, 10.0 - step) for step in range(1, 6)]
    assert curve(spool, "validation_bits_per_byte") == [(2, 2.5), (5, 2.0)]


def test_steps_that_a_killed_worker_took_with_it_are_there_and_those_told_again_are_not(
    store: FolderStore, tmp_path: Path, spool: Spool
) -> None:
    tell = Curve(spool, store.url)
    tell(done(1))  # of 2 to 4 and of the validation at 2 nothing arrived
    tell(Resumed(4, checkpoint(store, tmp_path / "first", 4)))
    for step in (5, 6):
        tell(done(step))
    tell(Validated(6, 4.0, "bits_per_byte", 1.5))
    tell(Resumed(4, checkpoint(store, tmp_path / "again", 4)))  # killed again, after 6
    for step in (5, 6, 7):
        tell(done(step))
    assert curve(spool, "loss") == [(step, 10.0 - step) for step in range(1, 8)]
    assert curve(spool, "validation_bits_per_byte") == [(2, 2.5), (6, 1.5)]


def test_a_validation_that_did_not_arrive_is_told_when_it_is_made_again(store: FolderStore, tmp_path: Path, spool: Spool) -> None:
    tell = Curve(spool, store.url)
    for step in range(1, 7):
        tell(done(step))
    tell(Resumed(4, checkpoint(store, tmp_path / "checkpoint", 4)))
    for step in (5, 6):
        tell(done(step))
    tell(Validated(6, 4.0, "bits_per_byte", 1.5))
    assert curve(spool, "validation_bits_per_byte") == [(6, 1.5)]


def shown(spool: Spool, name: str) -> list[tuple[int, float]]:
    """Of these, what MLflow gets."""
    spooled = [record for record, _ in records(spool.path) if record["kind"] == "metrics" and record.get("shown", True)]
    return [(record["step"], record["values"][name]) for record in spooled if name in record["values"]]


def test_mlflow_gets_a_thousand_steps_of_a_long_run_with_the_first_the_last_and_every_validation(
    store: FolderStore, spool: Spool
) -> None:
    tell = Curve(spool, store.url)
    for step in range(1, 4_998):
        tell(StepDone(step, 4_997, 1.0 / step, 32, 32 * step, 1e-3, 0.5, 0.01))
        if step % 7 == 0:
            tell(Validated(step, 5.0, "bits_per_byte", 2.0))
    drawn = [step for step, _ in shown(spool, "loss")]
    assert drawn == [1, *range(5, 4_996, 5), 4_997]
    assert len(shown(spool, "validation_loss")) == 4_997 // 7
    assert len(curve(spool, "loss")) == 4_997, "the spool has all, for the next attempt and for Prometheus"


def test_a_long_run_that_goes_on_tells_no_more_of_the_steps_before_it(store: FolderStore, tmp_path: Path, spool: Spool) -> None:
    tell = Curve(spool, store.url)
    tell(Resumed(4_000, checkpoint(store, tmp_path / "checkpoint", 4_000)))
    assert [step for step, _ in curve(spool, "loss")] == [1, *range(4, 4_001, 4)]
    assert curve(spool, "validation_bits_per_byte") == [(2, 2.5)]
    assert curve(spool, "tokens_seen")[-1] == (4_000, 32.0 * 4_000)


def test_after_going_back_the_steps_are_told_again_and_the_later_values_count(store: FolderStore, spool: Spool) -> None:
    tell = Curve(spool, store.url)
    for step in range(1, 7):
        tell(done(step))
    tell(RolledBack(4, 5, 6, "the loss of 3 steps was far above the rest"))
    for step in (5, 6):
        tell(replace(done(step), loss=1.0))
    assert curve(spool, "loss") == [*((step, 10.0 - step) for step in range(1, 7)), (5, 1.0), (6, 1.0)]
    assert tags(spool)["slipway.rollbacks"] == "1"
    assert "went back to step 4; the batches of steps 5 to 6 are left out" in tags(spool)["mlflow.note.content"]


def test_a_skipped_step_is_counted_once_though_it_is_told_again(store: FolderStore, spool: Spool) -> None:
    tell = Curve(spool, store.url)
    for step in (3, 5, 3, 5):
        tell(Skipped(step, "the gradient is inf"))
    assert curve(spool, "skipped_steps") == [(3, 1), (5, 2)]


def test_a_run_that_goes_on_has_the_skipped_steps_and_rollbacks_of_the_killed_one(
    store: FolderStore, tmp_path: Path, spool: Spool
) -> None:
    history = History(rollbacks=[{"step": 1, "first": 2, "last": 4, "why": "a spike"}])
    for step in (1, 2, 3):
        history.add(done(step), skipped=step == 2)
    (tmp_path / "checkpoint").mkdir()
    history.write(tmp_path / "checkpoint" / FILE)
    name = publish(store, "runs/pretrain-a-1/checkpoints/step-00000003", tmp_path / "checkpoint", {}).prefix
    tell = Curve(spool, store.url)
    tell(Resumed(3, name))
    tell(Resumed(3, name))
    tell(Skipped(2, "told again"))
    assert curve(spool, "skipped_steps") == [(2, 1)]
    assert tags(spool)["slipway.rollbacks"] == "1"
    assert tags(spool)["mlflow.note.content"].count("the batches of steps 2 to 4 are left out: a spike") == 1


def test_restarts_and_cost_stand_in_the_description_of_the_run(store: FolderStore, spool: Spool) -> None:
    tell = Curve(spool, store.url)
    tell(done(1))
    tell(Restarted(4, "somewhere", 2, 64, 0.5, 12.0))
    tell(Spent("cuda", 120.0, 30.0, 1, 0.19, "a list price"))
    assert tags(spool)["slipway.restarts"] == "1"
    assert tags(spool)["mlflow.note.content"] == (
        "- restarted after step 4: 2 steps lost (64 tokens, 0.5 s of work), at work again 12.0 s after the last step before\n"
        "- took 120.0 GPU-seconds, and 30.0 in 1 attempt before; $0.19 (a list price)"
    )
    assert curve(spool, "gpu_seconds") == [(1, 120.0)]
    assert curve(spool, "failed_gpu_seconds") == [(1, 30.0)]
    assert curve(spool, "cost_usd") == [(1, 0.19)]


def tags(spool: Spool) -> dict[str, str]:
    """All of them, the later ones in the place of the earlier."""
    return {key: value for record, _ in records(spool.path) if record["kind"] == "tags" for key, value in record["tags"].items()}
