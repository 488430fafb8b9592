"""The curve that MLflow gets of a run is whole, whatever was interrupted."""

from pathlib import Path

import pytest

from flows.tracking import Curve
from infra.store.folder import FolderStore
from infra.store.manifest import publish
from infra.tracking.spool import Spool, records
from llm.events import Resumed, StepDone, Validated
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
