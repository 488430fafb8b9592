"""No zombies: what a dead process left is put right within minutes, and nothing of a living one is touched."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.reconciling import Dead, is_silent, keep, look
from infra.settings import Settings
from infra.store.folder import FolderStore
from infra.store.lease import generation, lease
from infra.store.leases import unreleased
from infra.tracking.spool import followed

# Holds a lease and writes a spool, as a training does, until it is told to end.
AT_WORK = """
import sys
from pathlib import Path
from infra.store import open_store
from infra.store.lease import lease
from infra.tracking.spool import Spool
store, spools, name = sys.argv[1:]
spool = Spool(Path(spools), f"{name}-1")
spool.open("pretrain")
with lease(open_store(store), name):
    print("at work", flush=True)
    sys.stdin.read()
spool.close()
"""
DEAD, ALIVE = "pretrain-00000000dead", "pretrain-0000000a11fe"


@dataclass(frozen=True)
class Room:
    settings: Settings
    store: FolderStore

    def start(self, name: str) -> "subprocess.Popen[str]":
        argv = [sys.executable, "-c", AT_WORK, self.store.url, str(self.settings.spool), name]
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        return process

    def write(self, name: str, **changed: Any) -> None:
        """A lease's record as its holder on another machine would have it."""
        record = json.loads(self.store.read(f"leases/{name}.json"))
        record["holder"]["owner"]["host"] = "node-b"
        self.store.write(f"leases/{name}.json", json.dumps({**record, "released": False, **changed}).encode())

    def elsewhere(self, name: str, expired: float) -> None:
        """A lease that is held on another machine and ran out so many seconds ago."""
        with lease(self.store, name):
            pass
        self.write(name, expires=time.time() - expired)

    def look(self, **options: Any) -> list[Dead]:
        return list(look(self.settings, self.store, None, **options))


@pytest.fixture
def room(store: FolderStore, tmp_path: Path) -> Room:
    return Room(Settings(SLIPWAY_HOME=tmp_path / "home", SLIPWAY_STORE=store.url, SLIPWAY_LEASE_SECONDS=0.3), store)


@pytest.fixture
def both(room: Room) -> Iterator[Room]:
    """A process that was killed, and one that is at work."""
    dead, alive = room.start(DEAD), room.start(ALIVE)
    dead.kill()
    dead.communicate()
    yield room
    alive.communicate("")


def test_the_dead_are_found_in_every_place_and_the_living_in_none(both: Room) -> None:
    assert [str(dead).partition(";")[0] for dead in both.look()] == [
        f"MLflow run {DEAD}-1: KILLED, unless it had ended",
        f"lease {DEAD}: released",
    ]
    with followed(both.settings.spool / f"{DEAD}-1.jsonl"):  # its shipper is at work
        assert [dead.what for dead in both.look()] == [f"lease {DEAD}"]


def test_of_two_who_reconcile_at_once_one_makes_the_change(both: Room) -> None:
    first, second = (each.look()[-1] for each in (both, both))
    assert (first.end(), second.end()) == (True, False)
    assert [held.name for held in unreleased(both.store)] == [ALIVE]
    with lease(both.store, DEAD) as mine:  # taken by who starts again: a late reconciler leaves it alone
        assert mine.generation == 2
        assert not first.end()
        mine.check()


def test_one_on_another_machine_is_dead_after_minutes_of_silence_and_not_before(room: Room) -> None:
    room.elsewhere("register-aaaaaaaaaaaa", expired=290)
    room.elsewhere("register-bbbbbbbbbbbb", expired=310)
    (found,) = room.look()
    assert (found.what, found.fate) == ("lease register-bbbbbbbbbbbb", "released")
    assert "on node-b let its lease on register-bbbbbbbbbbbb run out at 20" in found.why
    assert found.end()
    assert room.look() == []
    assert generation(room.store, "register-bbbbbbbbbbbb") == 1


def test_one_that_speaks_while_it_is_watched_lives(room: Room) -> None:
    """As after an outage of the store for all: every lease has run out, and who lives renews its own."""
    room.elsewhere(DEAD, expired=1000)
    threading.Timer(0.1, lambda: room.write(DEAD, expires=time.time() + 60)).start()
    assert room.look() == []


def test_a_process_that_is_seen_at_work_is_not_silent_however_long_it_was_cut_off(room: Room) -> None:
    process = room.start(ALIVE)
    try:
        record = json.loads(room.store.read(f"leases/{ALIVE}.json"))
        room.store.write(f"leases/{ALIVE}.json", json.dumps({**record, "expires": time.time() - 1000}).encode())
        (held,) = unreleased(room.store)
        assert not is_silent(held, 300)
        assert room.look() == []
    finally:
        process.communicate("")


def test_it_is_done_again_and_again_whatever_is_in_the_way(room: Room, capsys: pytest.CaptureFixture[str]) -> None:
    leases = Path(room.store.url) / "leases"
    leases.parent.mkdir(parents=True, exist_ok=True)
    leases.mkdir()
    (leases / "work.json").write_text("cut off")  # what a store gives that is not well
    ended = threading.Event()
    thread = threading.Thread(target=keep, args=(room.settings,), kwargs={"every": 0.05, "ended": ended})
    thread.start()
    said = ""
    try:
        deadline = time.monotonic() + 20
        while "reconcile: " not in said:
            said += capsys.readouterr().err
            assert time.monotonic() < deadline
            time.sleep(0.01)
        (leases / "work.json").unlink()
        room.elsewhere("register-bbbbbbbbbbbb", expired=1000)
        while "lease register-bbbbbbbbbbbb: released" not in said:
            said += capsys.readouterr().err
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        ended.set()
        thread.join()
    assert len(said.splitlines()) == 2, said  # the trouble once, and what was done
