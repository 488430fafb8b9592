"""Tidying up: what nothing refers to goes, and nothing else."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from flows.cli import main
from flows.garbage import DAY, LEASE, Garbage, find_garbage, free, names
from flows.pipeline import records
from flows.pipeline.records import Record
from flows.pipeline.stage import Reference, Stage, run_id
from infra.ledger import Ledger
from infra.registry import Registry
from infra.settings import Settings
from infra.store import open_store
from infra.store.errors import DamagedError, LeaseHeldError, StoreError
from infra.store.faulty import Died, Fault, FaultyStore
from infra.store.folder import FolderStore
from infra.store.lease import lease
from infra.store.manifest import Thing, load, publish
from infra.targets import record as target_record
from infra.targets.record import Release
from infra.tracking.client import TrackingError, connect

LATER = 30 * DAY


@dataclass(frozen=True)
class Work:
    """A store in which stages ran, one after the other."""

    store: FolderStore
    home: Path

    @property
    def settings(self) -> Settings:
        return Settings(SLIPWAY_HOME=self.home, SLIPWAY_STORE=self.store.url, MLFLOW_TRACKING_URI=None)

    def stage(self, name: str, setting: str, inputs: dict[str, Thing]) -> Stage:
        return Stage(
            name,
            "nowhere:work",
            {"setting": setting},
            {role: Reference(each.prefix, each.version) for role, each in inputs.items()},
        )

    def run(self, name: str, setting: str, *, dataset: str = "", output: str = "package", **inputs: Thing) -> Thing:
        """What a stage leaves: a dataset, or an artifact of its run with a checkpoint beside it; its record last."""
        stage = self.stage(name, setting, inputs)
        run = run_id(name, stage.key(), 1)
        made = self.publish(
            f"datasets/{dataset}" if dataset else f"runs/{run}/artifacts/{output}", setting, versioned=bool(dataset)
        )
        if not dataset:
            self.publish(f"runs/{run}/checkpoints/step-00000001", setting)
            self.store.write(f"runs/{run}/metrics.parquet", b"metrics")
        self.record(stage, {"output": made})
        return made

    def record(self, stage: Stage, outputs: dict[str, Thing]) -> None:
        number = len(list(self.store.list("stages")))
        references = {role: Reference(each.prefix, each.version) for role, each in outputs.items()}
        run = run_id(stage.name, stage.key(), 1)
        started = f"2026-01-01T00:00:{number:02d}+00:00"
        made = Record(stage.name, stage.key(), run, 1, stage.identity(), references, {}, {}, {}, "here", started, 1.0, 1.0)
        records.write(self.store, made)

    def publish(self, prefix: str, text: str, *, versioned: bool = False) -> Thing:
        folder = self.home / "making" / str(time.monotonic_ns())
        folder.mkdir(parents=True)
        (folder / "data").write_text(f"{prefix} {text}")
        if not versioned:
            return publish(self.store, prefix, folder, {})
        return publish(self.store, f"{prefix}/{text}", folder, {})

    def garbage(self, *named: str, days: float = 7.0) -> list[Garbage]:
        return find_garbage(self.store, named, days=days, now=time.time() + LATER)

    def freed(self, *named: str) -> set[str]:
        return {each.name for each in self.garbage(*named)}


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(FolderStore(tmp_path / "home/store"), tmp_path / "home")


def unit(thing: Thing) -> str:
    return "/".join(thing.prefix.split("/")[: 3 if thing.prefix.startswith("datasets/") else 2])


def test_the_newest_result_of_each_stage_stays_with_all_that_it_was_made_from(work: Work) -> None:
    corpus = work.run("validate-data", "a", dataset="book")
    tokens = work.run("prepare-data", "a", dataset="book-tokens", corpus=corpus)
    old = work.run("pretrain", "small", tokens=tokens)
    work.run("pretrain", "large", tokens=tokens)
    assert work.freed() == {unit(old)}
    newer = work.run("validate-data", "b", dataset="book")
    assert work.freed() == {unit(old)}, "the older corpus is what the newest tokens were made from"
    work.run("prepare-data", "b", dataset="book-tokens", corpus=newer)
    assert work.freed() == {unit(old)}
    work.run("pretrain", "large", tokens=load(work.store, "datasets/book-tokens/b"))
    assert unit(corpus) in work.freed()
    assert unit(tokens) in work.freed()


def test_another_dataset_is_no_older_version_of_this_one(work: Work) -> None:
    for name in ("book", "poems"):
        corpus = work.run("validate-data", name, dataset=name)
        tokens = work.run("prepare-data", name, dataset=f"{name}-tokens", corpus=corpus)
        work.run("pretrain", name, tokens=tokens)
    assert work.freed() == set()


def test_what_is_named_stays_with_all_that_it_was_made_from(work: Work) -> None:
    first = work.run("validate-data", "a", dataset="book")
    tokens = work.run("prepare-data", "a", dataset="book-tokens", corpus=first)
    model = work.run("pretrain", "a", tokens=tokens)
    second = work.run("validate-data", "b", dataset="book")
    newer = work.run("prepare-data", "b", dataset="book-tokens", corpus=second)
    work.run("pretrain", "b", tokens=newer)
    assert work.freed() == {unit(first), unit(tokens), unit(model)}
    for named in (model.version, model.prefix, model.uri, model.place(), unit(model).removeprefix("runs/")):
        assert work.freed(named) == set(), named
    assert work.freed(tokens.version) == {unit(model)}


def test_what_is_young_stays_and_what_it_was_made_from(work: Work) -> None:
    corpus = work.run("validate-data", "a", dataset="book")
    old = work.run("pretrain", "a", tokens=corpus)
    work.run("pretrain", "b", tokens=corpus)
    assert {each.name for each in find_garbage(work.store, (), days=7.0)} == set()
    assert {each.name for each in find_garbage(work.store, (), days=0.0)} == {unit(old)}


def test_what_a_running_lease_writes_or_uses_stays(work: Work) -> None:
    first = work.run("validate-data", "a", dataset="book")
    second = work.run("validate-data", "b", dataset="book")
    stage = work.stage("pretrain", "a", {"tokens": first})
    work.publish(f"runs/{run_id('pretrain', stage.key(), 1)}/checkpoints/step-00000001", "state")
    work.store.write(f"runs/{run_id('pretrain', stage.key(), 2)}/checkpoints/step-00000002/half", b"half")
    work.publish(f"parts/{stage.key()}/0123", "part")
    running = f"pretrain-{stage.key()[:12]}"
    with lease(work.store, running, uses=[first.prefix]):
        assert work.freed() == set()
    freed = {unit(first), f"runs/{running}-1", f"runs/{running}-2", f"parts/{stage.key()}"}
    assert work.freed() == freed
    assert unit(second) not in freed
    with lease(work.store, running, uses=[first.prefix]):
        assert list(free(work.store, work.garbage())) == []


def test_what_somebody_begins_to_use_while_it_is_freed_stays(work: Work) -> None:
    first = work.run("validate-data", "a", dataset="book")
    work.run("validate-data", "b", dataset="book")
    garbage = work.garbage()
    with lease(work.store, "pretrain-0123456789ab", uses=[first.prefix]):
        assert list(free(work.store, garbage)) == []
    load(work.store, first.prefix).check()


def test_what_is_half_written_goes_after_a_day_and_takes_nothing_whole_with_it(work: Work) -> None:
    model = work.run("pretrain", "a")
    run = unit(model)
    work.store.write(f"{run}/checkpoints/step-00000009/half", b"half")
    work.store.write("datasets/book/0123/shard", b"half")
    work.store.write("runs/pretrain-0123456789ab-1/checkpoints/step-00000001/half", b"half")
    (work.store.root / ".store/tmp/left").write_bytes(b"left by a killed writer")
    assert {each.name for each in find_garbage(work.store, (), days=0.0)} == {
        "datasets/book/0123",
        "runs/pretrain-0123456789ab-1",
    }, "what belongs to a kept run may be being written"
    found = {each.name: each.why for each in work.garbage()}
    assert found == {
        f"{run}/checkpoints/step-00000009": "half-written",
        "datasets/book/0123": "half-written",
        "runs/pretrain-0123456789ab-1": "half-written",
        ".store/tmp/left": "left by a writer that died",
    }
    assert len(list(free(work.store, work.garbage()))) == 4
    assert work.freed() == set()
    load(work.store, model.prefix).check()
    load(work.store, f"{run}/checkpoints/step-00000001").check()
    assert list((work.store.root / ".store/tmp").iterdir()) == []


def test_a_stage_whose_result_was_freed_runs_again_and_no_record_promises_what_is_gone(work: Work) -> None:
    old = work.run("pretrain", "a")
    decided = work.stage("register", "a", {"package": old})
    work.record(decided, {})
    newer = work.run("pretrain", "b")
    work.record(work.stage("register", "b", {"package": newer}), {})
    kept = work.run("evaluate", "b", output="evidence")
    (garbage,) = work.garbage()
    assert {record.stage for record in garbage.records} == {"pretrain", "register"}
    list(free(work.store, work.garbage()))
    left = records.every(work.store)
    assert all(not record.missing_output(work.store) for record in left)
    assert not work.store.exists(f"{old.prefix}/manifest.json")
    assert not any(entry.name.startswith(unit(old)) for entry in work.store.list("runs"))
    load(work.store, kept.prefix).check()


@pytest.mark.parametrize("fault", Fault)
def test_a_death_at_any_write_leaves_no_record_that_promises_what_is_gone(work: Work, tmp_path: Path, fault: Fault) -> None:
    at = 0
    while True:
        at += 1
        each = Work(FolderStore(tmp_path / f"{fault.name}-{at}"), tmp_path / "making")
        corpus = each.run("validate-data", "a", dataset="book")
        each.run("validate-data", "b", dataset="book")
        faulty = FaultyStore(each.store, at=at, fault=fault)
        try:
            list(free(faulty, each.garbage()))
            break
        except (Died, StoreError):
            pass
        assert all(not record.missing_output(each.store) for record in records.every(each.store))
        list(free(each.store, each.garbage()))
        list(free(each.store, each.garbage()))
        assert not any(entry.name.startswith(corpus.prefix) for entry in each.store.list("datasets"))
        load(each.store, "datasets/book/b").check()
    assert at == 4, "a record, a manifest and a file are three writes"


def test_what_is_not_ours_is_left_alone(work: Work) -> None:
    for name in (
        "notes.txt",
        "exports/model/weights",
        "ledger/00000001.json",
        "leases/a.json",
        "runs/mlflow/0123/artifacts/plot.png",
    ):
        work.store.write(name, b'{"released": true, "expires": 0, "holder": {"owner": {"host": "", "process": '
                               b'{"pid": 1, "started": "", "boot": ""}}, "nonce": ""}}')  # fmt: skip
    assert work.freed() == set()


def test_a_record_that_cannot_be_read_stops_it(work: Work) -> None:
    work.run("pretrain", "a")
    work.store.write("stages/broken.json", b"{")
    with pytest.raises(DamagedError, match="broken"):
        work.garbage()


def test_the_registry_the_ledger_and_the_targets_name_what_they_need(work: Work, tmp_path: Path) -> None:
    models = [work.run("pretrain", word) for word in ("registered", "released", "deployed", "evidence", "nobody", "newest")]
    registered, released, deployed, evidence, nobody, _ = models
    assert {unit(each) for each in models[:-1]} == work.freed()
    connect(f"sqlite:///{work.home / 'mlflow.db'}")
    Registry(work.settings.tracking_uri).register("ship", registered.uri, tags={"evidence": evidence.uri})
    Ledger.of(work.settings).append(
        "approve", subject={"model": "models:/ship/9", "package": released.version}, who="ann", why="good"
    )
    target = work.home / "targets/local"
    target.mkdir(parents=True)
    release = Release("models:/ship/8", "ship", deployed.version, deployed.place())
    target_record.write(target, target_record.Record("local", releases=(release,)))
    assert work.freed(*names(work.settings, work.store)) == {unit(nobody)}


def test_nothing_is_freed_where_the_registry_cannot_be_asked(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(TrackingError):
        list(names(Settings(SLIPWAY_HOME=work.home), work.store))


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(words)
    said = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, said.out or said.err


def test_the_command_shows_what_would_go_and_frees_it_when_told_to(
    work: Work, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_HOME", str(work.home))
    old = work.run("pretrain", "a")
    newest = work.run("pretrain", "b")
    before = {entry.name for entry in work.store.list()}
    code, said = call(capsys, "store", "gc")
    assert (code, said) == (0, f"Nothing to free in {work.store.url}.\n")
    code, said = call(capsys, "store", "gc", "--days", "0")
    assert code == 0
    assert unit(old) in said
    assert "superseded" in said
    assert "--delete frees it" in said
    assert {entry.name for entry in work.store.list()} == before
    code, said = call(capsys, "store", "gc", "--days", "0", "--delete", "--json")
    document = json.loads(said)
    assert code == 0
    assert document["deleted"]
    assert document["bytes"] == sum(each["bytes"] for each in document["things"]) > 0
    assert [(each["name"], each["deleted"]) for each in document["things"]] == [(unit(old), True)]
    assert not any(entry.name.startswith(unit(old)) for entry in work.store.list())
    load(open_store(work.store.url), newest.prefix).check()
    assert call(capsys, "store", "gc", "--days", "0")[1].startswith("Nothing to free")


def test_two_do_not_tidy_up_at_once(work: Work, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_HOME", str(work.home))
    with lease(work.store, LEASE):
        assert call(capsys, "store", "gc", "--delete")[0] == LeaseHeldError.exit_code
        assert call(capsys, "store", "gc")[0] == 0
