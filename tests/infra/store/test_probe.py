"""The probe: a server whose conditional puts are not real is found out, before a lease or the ledger relies on it."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.store import probe
from infra.store.errors import NotFoundError, StoreError
from infra.store.lease import lease
from infra.store.probe import find_fault, remembered_fault
from infra.store.protocol import Store, Versioned
from infra.store.s3 import S3Store

MakeStore = Callable[[str], Store]


class Shelf:
    """Objects in memory. `blind` lets each writer decide by what was there when the race began, as a careless server does."""

    def __init__(self, *, blind_create: bool = False, blind_replace: bool = False, deaf: bool = False) -> None:
        self.blind_create, self.blind_replace, self.deaf = blind_create, blind_replace, deaf
        self.objects: dict[str, bytes] = {}
        self.lock, self.met = threading.Lock(), threading.Barrier(probe.WRITERS)

    def create(self, name: str, data: bytes) -> bool:
        return self._put(name, data, lambda: name not in self.objects, blind=self.blind_create)

    def replace(self, name: str, data: bytes, version: str) -> bool:
        race = data.isdigit()  # what is not part of a race comes alone
        return self._put(name, data, lambda: self.deaf or self._version(name) == version, blind=self.blind_replace and race)

    def read(self, name: str) -> Versioned:
        return Versioned(self.objects[name], self._version(name))

    def delete(self, name: str) -> None:
        self.objects.pop(name, None)

    def _version(self, name: str) -> str:
        return self.objects[name].decode()

    def _put(self, name: str, data: bytes, holds: Callable[[], bool], *, blind: bool) -> bool:
        if blind:
            may = holds()
            self.met.wait()
            self.objects[name] = data
            return may
        with self.lock:
            if may := holds():
                self.objects[name] = data
            return may


def test_real_conditional_puts_pass_and_nothing_is_left() -> None:
    shelf = Shelf()
    assert find_fault(shelf, "probe") == ""
    assert shelf.objects == {}


@pytest.mark.parametrize(
    ("shelf", "says"),
    [
        (Shelf(blind_create=True), f"of {probe.WRITERS} writers of one new object, this S3 server told {probe.WRITERS} "),
        (Shelf(deaf=True), "though its version is stale"),
        (Shelf(blind_replace=True), f"writers that replace one version of an object, this S3 server told {probe.WRITERS} "),
    ],
)
def test_each_way_of_not_being_real_is_found_and_named(shelf: Shelf, says: str) -> None:
    assert says in find_fault(shelf, "probe")
    assert shelf.objects == {}


def test_swift_is_found_out_every_time_and_no_lease_is_given_on_it(make_store: MakeStore) -> None:
    store = make_store("swift")
    assert isinstance(store, S3Store)
    assert all(store.find_conditional_fault() for _ in range(10))
    with pytest.raises(StoreError, match="(?s)leases and the ledger cannot be kept there.*SLIPWAY_STORE"), lease(store, "work"):
        pass
    with pytest.raises(StoreError, match="ledger"):
        store.check_writable()
    store.write("datasets/a", b"bulk may lie there")
    assert [entry.name for entry in store.list()] == ["datasets/a"]


def test_ceph_is_never_taken_for_careless(make_store: MakeStore) -> None:
    store = make_store("ceph")
    assert isinstance(store, S3Store)
    assert [store.find_conditional_fault() for _ in range(3)] == ["", "", ""]
    assert list(store.list()) == []


def test_a_verdict_is_remembered_for_the_next_process_and_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note, asked = tmp_path / "bucket/probe.json", []

    def find() -> str:
        asked.append(1)
        return "careless"

    assert remembered_fault(note, find) == "careless"
    assert remembered_fault(note, find) == "careless"
    probe._known.clear()  # another process
    assert remembered_fault(note, find) == "careless"
    assert len(asked) == 1
    probe._known.clear()
    note.write_text(json.dumps({**json.loads(note.read_text()), "at": 0}))
    assert remembered_fault(note, lambda: "") == ""
    probe._known.clear()
    note.write_text("{half")
    assert remembered_fault(note, find) == "careless"


def test_a_server_that_is_away_gets_no_verdict(tmp_path: Path) -> None:
    def away() -> str:
        raise NotFoundError("away")

    with pytest.raises(StoreError):
        remembered_fault(tmp_path / "probe.json", away)
    assert remembered_fault(tmp_path / "probe.json", lambda: "") == ""
