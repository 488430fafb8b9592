"""The ledger: what was done to it is found and named, two writers give one chain, and no crash tears it."""

import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.anchors import Head, HomeAnchor
from infra.ledger import Entry, Finding, Ledger, LedgerError
from infra.store import open_store
from infra.store.errors import DamagedError, StoreError
from infra.store.faulty import Died, Fault, FaultyStore
from infra.store.folder import FolderStore
from infra.store.protocol import Store
from tests.s3_server import S3Server


def add(ledger: Ledger, number: int) -> Entry:
    return ledger.append(
        "approve",
        subject={"model": f"models:/ship/{number}", "package": f"p{number}"},
        who="ann@quay",
        why=f"reason {number}: gut, öfter",
        facts={"gates": [{"name": "better", "passed": True}], "value": 1.0},
    )


def anchored(store: Store, tmp_path: Path) -> Ledger:
    return Ledger(store, (HomeAnchor(tmp_path / "home", store.url),))


def path(store: FolderStore, number: int) -> Path:
    return store.root / f"ledger/{number:08d}.json"


def edit(store: FolderStore, number: int, **fields: object) -> None:
    document = json.loads(path(store, number).read_text())
    path(store, number).write_text(json.dumps({**document, **fields}))


def found(ledger: Ledger) -> list[tuple[int, str]]:
    return [(finding.entry, finding.kind) for finding in ledger.verify()]


@pytest.fixture
def ledger(store: FolderStore, tmp_path: Path) -> Ledger:
    """Five entries, the fifth anchored in the home."""
    ledger = anchored(store, tmp_path)
    for number in range(1, 6):
        add(ledger, number)
    return ledger


def test_every_decision_can_be_read_again_as_it_was_written(ledger: Ledger) -> None:
    entries = ledger.entries()
    assert [entry.number for entry in entries] == [1, 2, 3, 4, 5]
    assert [entry.previous for entry in entries] == ["", *(entry.hash for entry in entries[:-1])]
    assert entries[2].subject == {"model": "models:/ship/3", "package": "p3"}
    assert (entries[2].who, entries[2].why) == ("ann@quay", "reason 3: gut, öfter")
    assert entries[2].facts == {"gates": [{"name": "better", "passed": True}], "value": 1.0}
    assert ledger.verify() == []
    ledger.check()


def test_nothing_is_there_before_the_first_decision(store: FolderStore, tmp_path: Path) -> None:
    ledger = anchored(store, tmp_path)
    assert ledger.entries() == []
    assert ledger.verify() == []
    assert not store.root.exists()
    assert not (tmp_path / "home").exists()


def test_a_changed_entry_is_named(ledger: Ledger, store: FolderStore) -> None:
    edit(store, 3, who="mallory@quay")
    assert ledger.verify() == [
        Finding(3, "changed", "Entry 3 was changed: it does not have the hash it was written with."),
    ]
    with pytest.raises(LedgerError, match="entry 3 was changed: it does not have the hash it was written with") as raised:
        ledger.check()
    assert raised.value.exit_code == 3


def test_an_entry_changed_with_its_hash_is_named_by_the_next(ledger: Ledger, store: FolderStore) -> None:
    edit(store, 3, who="mallory@quay")
    edit(store, 3, hash=ledger.entries()[2].digest())
    assert [finding.what for finding in ledger.verify()] == [
        "Entry 3 was replaced, hash and all: entry 4 was written after another one."
    ]


def test_the_last_entry_changed_with_its_hash_is_named_by_the_anchor(ledger: Ledger, store: FolderStore, tmp_path: Path) -> None:
    edit(store, 5, who="mallory@quay")
    edit(store, 5, hash=ledger.entries()[4].digest())
    anchor = tmp_path / "home/ledger-heads.json"
    what = f"Entry 5 was replaced, hash and all: {anchor} keeps another one under this number."
    assert ledger.verify() == [Finding(5, "changed", what)]
    assert Ledger(store).verify() == [], "without an anchor nobody could tell"


def test_a_removed_entry_is_named(ledger: Ledger, store: FolderStore) -> None:
    path(store, 2).unlink()
    path(store, 3).unlink()
    assert [finding.what for finding in ledger.verify()] == [
        "Entry 2 was removed: entry 4 comes after it and is there.",
        "Entry 3 was removed: entry 4 comes after it and is there.",
    ]


def test_a_removed_beginning_is_named(ledger: Ledger, store: FolderStore) -> None:
    path(store, 1).unlink()
    assert found(ledger) == [(1, "removed")]


def test_reordered_entries_are_named(ledger: Ledger, store: FolderStore) -> None:
    third = path(store, 3).read_text()
    path(store, 3).write_text(path(store, 4).read_text())
    path(store, 4).write_text(third)
    assert [finding.what for finding in ledger.verify()] == [
        "Entries were reordered: in place of entry 3 lies entry 4.",
        "Entries were reordered: in place of entry 4 lies entry 3.",
    ]


def test_a_tail_cut_off_is_named(ledger: Ledger, store: FolderStore, tmp_path: Path) -> None:
    path(store, 5).unlink()
    anchor = tmp_path / "home/ledger-heads.json"
    assert [finding.what for finding in ledger.verify()] == [f"Entry 5 was cut off the end: {anchor} keeps entry 5 as a head."]
    path(store, 4).unlink()
    assert [finding.what for finding in ledger.verify()] == [
        f"Entries 4 to 5 were cut off the end: {anchor} keeps entry 5 as a head."
    ]
    for number in (1, 2, 3):
        path(store, number).unlink()
    assert found(ledger) == [(1, "truncated")]


def test_a_cut_is_still_found_after_others_appended(ledger: Ledger, store: FolderStore, tmp_path: Path) -> None:
    path(store, 5).unlink()
    add(ledger, 6)
    add(ledger, 7)
    anchor = tmp_path / "home/ledger-heads.json"
    assert [finding.what for finding in ledger.verify()] == [
        f"Entry 5 was replaced, hash and all: {anchor} keeps another one under this number."
    ]


def test_an_unreadable_entry_is_named_and_does_not_keep_a_rollback_from_being_recorded(ledger: Ledger, store: FolderStore) -> None:
    path(store, 5).write_bytes(b"")
    entry = add(ledger, 6)
    assert entry.number == 6
    assert found(ledger) == [(5, "unreadable")]
    with pytest.raises(DamagedError, match="not an entry of the ledger") as raised:
        ledger.entries()
    assert raised.value.where.endswith("ledger/00000005.json")


def test_what_does_not_belong_there_is_named(ledger: Ledger, store: FolderStore) -> None:
    store.write("ledger/00000006.json.bak", b"{}")
    assert found(ledger) == [(0, "foreign")]


def test_a_home_that_worked_with_two_stores_anchors_each(tmp_path: Path) -> None:
    one, two = FolderStore(tmp_path / "one"), FolderStore(tmp_path / "two")
    add(anchored(one, tmp_path), 1)
    add(anchored(two, tmp_path), 1)
    path(one, 1).unlink()
    assert found(anchored(one, tmp_path)) == [(1, "truncated")]
    assert found(anchored(two, tmp_path)) == []


def test_an_entry_whose_anchor_could_not_be_written_stands_and_the_next_anchors_both(
    store: FolderStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "home").write_text("a file where the home should be")
    assert add(anchored(store, tmp_path), 1).number == 1
    assert "entry 1 of the ledger is written, but not anchored" in caplog.text
    (tmp_path / "home").unlink()
    entry = add(anchored(store, tmp_path), 2)
    assert HomeAnchor(tmp_path / "home", store.url).read() == Head(2, entry.hash)


def test_a_writer_whose_number_was_taken_takes_the_next(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, fast = Ledger(store), Ledger(store)
    original: Callable[[], tuple[int, str]] = slow._last
    taken: list[Entry] = []

    def overtaken() -> tuple[int, str]:
        last = original()
        if not taken:
            taken.append(add(fast, 1))
        return last

    monkeypatch.setattr(slow, "_last", overtaken)
    entry = add(slow, 2)
    assert (taken[0].number, entry.number, entry.previous) == (1, 2, taken[0].hash)
    assert slow.verify() == []


def _append_many(url: str, home: str, writer: int) -> None:
    store = open_store(url)
    ledger = Ledger(store, (HomeAnchor(Path(home), store.url),))
    for number in range(10):
        add(ledger, writer * 100 + number)


@pytest.fixture(params=["folder", "bucket"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    if request.param == "folder":
        return open_store(str(tmp_path / "store"))
    server: S3Server = request.getfixturevalue("ceph")
    server.use(monkeypatch)
    monkeypatch.setenv("SLIPWAY_CACHE", str(tmp_path / "cache"))
    return open_store(f"s3://{server.bucket}/{tmp_path.name}")


def test_two_processes_that_append_at_once_give_one_chain(any_store: Store, tmp_path: Path) -> None:
    store = any_store
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append_many, args=(store.url, str(tmp_path / "home"), writer)) for writer in (1, 2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    ledger = anchored(store, tmp_path)
    assert [entry.number for entry in ledger.entries()] == list(range(1, 21))
    assert ledger.verify() == []
    models = [int(entry.subject["model"].rpartition("/")[2]) for entry in ledger.entries()]
    assert [each for each in models if each < 200] == list(range(100, 110))
    assert [each for each in models if each >= 200] == list(range(200, 210))
    assert HomeAnchor(tmp_path / "home", store.url).read() == Head(20, ledger.entries()[-1].hash)


@pytest.mark.parametrize("fault", list(Fault), ids=lambda fault: fault.name.lower())
@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_crash_at_any_write_leaves_a_whole_chain(store: FolderStore, tmp_path: Path, fault: Fault, at: int) -> None:
    faulty = FaultyStore(store, at=at, fault=fault)
    ledger = Ledger(faulty, (HomeAnchor(tmp_path / "home", store.url),))
    with pytest.raises((Died, StoreError)):
        for number in range(1, 4):
            add(ledger, number)
    again = anchored(store, tmp_path)
    assert len(again.entries()) == (at if fault is Fault.DIE_AFTER else at - 1)
    assert again.verify() == []
    add(again, 9)
    assert again.verify() == []
