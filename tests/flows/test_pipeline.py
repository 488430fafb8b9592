"""Stages: done once, reused with a reason, run again with a reason, never by two at once, and whole after any crash."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import pytest

from flows.pipeline import records
from flows.pipeline.session import SESSION, Session, Walked, look, preflight, walk
from flows.pipeline.stage import Job, Outcome, Stage
from infra.settings import Settings
from infra.store.errors import DamagedError, InputError, LeaseHeldError, LeaseLostError, RefusedError, StoreError
from infra.store.faulty import Died, Fault, FaultyStore
from infra.store.fingerprint import RUNTIME
from infra.store.folder import FolderStore
from infra.store.lease import lease
from infra.store.manifest import publish
from infra.store.protocol import Store
from llm.events import Noted

done: list[str] = []  # what the work of the stages below was called for


@dataclass(frozen=True)
class Count:
    to: int = 3
    workers: Annotated[int, RUNTIME] = 0


def write_numbers(job: Job, settings: Count) -> Outcome:
    done.append(job.run)
    folder = job.scratch / "out"
    folder.mkdir()
    (folder / "numbers.txt").write_text(" ".join(map(str, range(settings.to))))
    (folder / "more.txt").write_text("more")
    thing = publish(job.store, f"datasets/numbers/{job.key[:8]}", folder, {})
    return Outcome({"numbers": thing}, {"count": settings.to})


def add_numbers(job: Job, settings: Count) -> Outcome:
    done.append(job.run)
    numbers = job.inputs["numbers"].path("numbers.txt").read_text().split()
    folder = job.scratch / "sum"
    folder.mkdir()
    (folder / "sum.txt").write_text(str(sum(map(int, numbers))))
    return Outcome({"sum": publish(job.store, f"runs/{job.run}/artifacts/sum", folder, {})}, {"sum": sum(map(int, numbers))})


def be_overtaken(job: Job, settings: Count) -> Outcome:
    """Somebody takes the lease, as after an outage; the next renewal finds out, and the next step is the last."""
    (lease_file,) = job.store.list("leases")
    record = json.loads(job.store.read(lease_file.name))
    record["holder"]["nonce"] = "somebody else"
    job.store.write(lease_file.name, json.dumps({**record, "generation": 2}).encode())
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        job.observe(Noted("a step"))
        time.sleep(0.01)
    return Outcome()


def fail(job: Job, settings: Count) -> Outcome:
    raise InputError("no", where=str(job.scratch))


def numbers(settings: Count = Count(), work: str = "write_numbers") -> Stage:
    return Stage("numbers", f"{__name__}:{work}", settings, {"source": "v1"})


def added(first: Walked, settings: Count = Count()) -> Stage:
    return Stage("added", f"{__name__}:add_numbers", settings, {"numbers": first["numbers"]})


@pytest.fixture
def session(store: FolderStore, tmp_path: Path) -> Iterator[Session]:
    done.clear()
    yield Session(Settings(SLIPWAY_HOME=tmp_path / "home"), store)


def both(session: Session, settings: Count = Count()) -> list[Walked]:
    token = SESSION.set(session)
    try:
        first = walk(numbers(settings))
        return [first, walk(added(first))]
    finally:
        SESSION.reset(token)


def states(walked: list[Walked]) -> list[str]:
    return [each.state for each in walked]


def test_a_stage_that_somebody_took_over_ends_at_its_next_step_and_leaves_no_record(session: Session) -> None:
    session.settings = Settings(SLIPWAY_HOME=session.settings.home, SLIPWAY_LEASE_SECONDS=0.3)
    token = SESSION.set(session)
    try:
        with pytest.raises(LeaseLostError, match="took this work over") as caught:
            walk(numbers(work="be_overtaken"))
    finally:
        SESSION.reset(token)
    assert caught.value.exit_code == 5
    assert list(session.store.list("stages")) == []


def test_a_second_walk_reuses_everything_and_says_why(session: Session) -> None:
    assert states(both(session)) == ["done", "done"]
    again = both(session)
    assert states(again) == ["reused", "reused"]
    assert again[0].why == ("same settings, same inputs",)
    assert again[1].result == {"sum": 3}
    assert len(done) == 2


def test_where_and_on_how_many_machines_it_runs_does_not_matter(session: Session) -> None:
    both(session)
    assert states(both(session, Count(workers=8))) == ["reused", "reused"]


def test_a_changed_setting_is_shown_field_by_field(session: Session) -> None:
    both(session)
    planned = both(replace(session, planning=True, walked=[]), Count(to=5))
    assert states(planned) == ["would run", "would run"]
    assert planned[0].why == ("settings.to: 3 -> 5",)
    assert planned[1].why == ("after numbers",)
    assert len(done) == 2


def test_a_stage_runs_again_only_when_what_it_reads_changed(session: Session) -> None:
    both(session)
    forced = replace(session, force=frozenset({"numbers"}), walked=[])
    assert states(both(forced)) == ["done", "reused"]  # the same numbers came out
    assert [run.rsplit("-", 1)[-1] for run in done] == ["1", "1", "2"]


def test_a_result_that_is_gone_is_made_again(session: Session, store: FolderStore) -> None:
    first = both(session)[0]
    assert first.record is not None
    prefix = first.record.outputs["numbers"].prefix
    store.delete(f"{prefix}/manifest.json")
    planned = look(session, numbers())
    assert (planned.state, planned.why) == ("would run", (f"its output {prefix} is gone",))
    assert states(both(session)) == ["done", "reused"]


def test_changed_code_is_reused_with_a_line_that_says_so_and_refused_when_strict(session: Session, store: FolderStore) -> None:
    record = both(session)[0].record
    assert record is not None
    records.write(store, replace(record, code={**record.code, "digest": "older"}))
    walked = look(session, numbers())
    assert walked.state == "reused"
    assert "its code changed since (--force numbers runs it again)" in walked.why[0]
    with pytest.raises(RefusedError, match="numbers: its code changed"):
        look(replace(session, strict=True), numbers())


def test_a_stage_that_somebody_is_at_is_not_done_twice(session: Session, store: FolderStore) -> None:
    with lease(store, f"numbers-{numbers().key()[:12]}"), pytest.raises(LeaseHeldError):
        both(session)
    assert done == []


def test_a_failed_stage_leaves_no_record_and_no_scratch(session: Session, store: FolderStore) -> None:
    token = SESSION.set(session)
    try:
        with pytest.raises(InputError):
            walk(numbers(work="fail"))
    finally:
        SESSION.reset(token)
    assert records.find(store, numbers().key()) is None
    assert not list(session.settings.scratch.iterdir())


def test_forcing_a_stage_that_is_not_there_names_those_that_are(session: Session) -> None:
    forced = replace(session, planning=True, force=frozenset({"nombers"}), walked=[])
    both(forced)
    with pytest.raises(InputError, match="nombers") as caught:
        forced.check_forced()
    assert caught.value.mend == "Its stages are numbers, added."


def test_a_damaged_input_is_found_before_anything_starts(session: Session, store: FolderStore) -> None:
    first = both(session)[0]
    assert first.record is not None
    (store.root / first.record.outputs["numbers"].prefix / "numbers.txt").write_text("damaged")
    planned = both(replace(session, planning=True, force=frozenset({"added"}), walked=[]))
    before = sorted(path for path in session.settings.home.rglob("*"))
    with pytest.raises(DamagedError, match=r"numbers\.txt"):
        preflight(session, planned)
    assert sorted(path for path in session.settings.home.rglob("*")) == before


def test_a_damaged_record_is_named(session: Session, store: FolderStore) -> None:
    both(session)
    store.write(f"stages/{numbers().key()}.json", b"{")
    with pytest.raises(DamagedError, match=rf"stages/{numbers().key()}\.json"):
        look(session, numbers())


def contents(store: Store) -> dict[str, bytes]:
    """All that bears on a result: not leases, not times, not which attempt it was."""
    kept = {entry.name: store.read(entry.name) for entry in store.list() if entry.name.startswith("datasets/")}
    for entry in store.list("stages"):
        record = json.loads(store.read(entry.name))
        kept[entry.name] = json.dumps(
            [record["identity"], record["result"], [output["version"] for output in record["outputs"].values()]]
        ).encode()
    return kept


def crash_points() -> list[tuple[Fault, int]]:
    return [(fault, at) for fault in Fault for at in range(1, 12)]


@pytest.mark.parametrize(
    ("fault", "at"), crash_points(), ids=lambda value: value.name.lower() if isinstance(value, Fault) else str(value)
)
def test_after_every_crash_point_a_rerun_ends_with_the_same_result(session: Session, tmp_path: Path, fault: Fault, at: int) -> None:
    undisturbed = FolderStore(tmp_path / "undisturbed")
    counting = FaultyStore(undisturbed)
    both(replace(session, store=counting, walked=[]))
    assert counting.writes == 11, "crash_points covers every write"
    with pytest.raises((Died, StoreError)):
        both(replace(session, store=FaultyStore(session.store, at=at, fault=fault), walked=[]))
    assert all(each.record for each in both(replace(session, walked=[])))
    assert contents(session.store) == contents(undisturbed)
