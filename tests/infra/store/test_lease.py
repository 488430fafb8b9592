"""Leases: one holder at a time, the dead are replaced, the late cannot publish."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra.store.errors import LeaseHeldError, LeaseLostError
from infra.store.faulty import Died, Fault, FaultyStore
from infra.store.folder import FolderStore
from infra.store.lease import generation, lease
from infra.store.protocol import Store

HOLD = """
import sys
from infra.store import open_store
from infra.store.lease import lease
with lease(open_store(sys.argv[1]), "work", ttl=60):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def store(atomic_store: Store) -> Store:
    return atomic_store


def holder(store: Store) -> "subprocess.Popen[str]":
    process = subprocess.Popen([sys.executable, "-c", HOLD, store.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_holder_is_refused_and_told_who_holds_it(store: Store) -> None:
    process = holder(store)
    try:
        with pytest.raises(LeaseHeldError, match=f"process {process.pid} on") as caught, lease(store, "work"):
            pass
        assert caught.value.exit_code == 5
    finally:
        process.communicate("")
    with lease(store, "work") as mine:
        assert mine.generation == 2


def test_waiting_gets_the_lease_when_it_is_released(store: Store) -> None:
    process = holder(store)
    assert process.stdin is not None
    process.stdin.close()
    with lease(store, "work", wait=30) as mine:
        assert mine.generation == 2
    process.wait()


def test_a_killed_holder_on_this_machine_is_replaced_at_once(store: Store) -> None:
    process = holder(store)
    process.kill()
    process.wait()
    began = time.monotonic()
    with lease(store, "work", ttl=60) as mine:
        assert mine.generation == 2
    assert time.monotonic() - began < 5


def test_a_silent_holder_on_another_machine_is_replaced_after_its_time(store: Store) -> None:
    with lease(store, "work"):
        pass
    record = json.loads(store.read("leases/work.json"))
    record["holder"]["owner"]["host"] = "elsewhere"
    store.write("leases/work.json", json.dumps({**record, "released": False, "expires": time.time() + 60}).encode())
    with pytest.raises(LeaseHeldError), lease(store, "work"):
        pass
    store.write("leases/work.json", json.dumps({**record, "released": False, "expires": time.time() - 1}).encode())
    with lease(store, "work") as mine:
        assert mine.generation == 2


def test_a_lease_is_renewed_while_it_is_held(store: Store) -> None:
    with lease(store, "work", ttl=0.6) as mine:
        first = json.loads(store.read("leases/work.json"))["expires"]
        deadline = time.monotonic() + 10
        while json.loads(store.read("leases/work.json"))["expires"] == first and time.monotonic() < deadline:
            time.sleep(0.05)
        assert json.loads(store.read("leases/work.json"))["expires"] > first
        mine.check()


def test_a_holder_whose_lease_was_taken_over_cannot_publish(store: Store) -> None:
    with lease(store, "work") as stalled:
        record = json.loads(store.read("leases/work.json"))
        record["holder"]["nonce"] = "somebody else"
        store.write("leases/work.json", json.dumps({**record, "generation": 2}).encode())
        with pytest.raises(LeaseLostError):
            stalled.check()
    assert json.loads(store.read("leases/work.json"))["generation"] == 2


def test_generations_count_the_holders_across_processes(store: Store) -> None:
    assert generation(store, "work") == 0
    for _ in range(3):
        with lease(store, "work"):
            pass
    assert generation(store, "work") == 3


@pytest.mark.parametrize("fault", [Fault.DIE_BEFORE, Fault.DIE_AFTER])
def test_a_death_while_taking_or_releasing_leaves_the_lease_free_for_the_next(tmp_path: Path, fault: Fault) -> None:
    for at in (1, 2):
        store = FolderStore(tmp_path / f"{fault.name}{at}")
        with pytest.raises(Died), lease(FaultyStore(store, at=at, fault=fault), "work"):
            pass
        with lease(store, "work") as mine:
            mine.check()


def test_this_process_is_told_apart_from_a_later_one_with_its_number(store: Store) -> None:
    with lease(store, "work"):
        pass
    record = json.loads(store.read("leases/work.json"))
    record["holder"]["owner"]["process"] |= {"pid": os.getppid(), "started": "1"}
    store.write("leases/work.json", json.dumps({**record, "released": False, "expires": time.time() + 60}).encode())
    with lease(store, "work") as mine:
        assert mine.generation == 2
