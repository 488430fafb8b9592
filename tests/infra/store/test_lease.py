"""Leases: one holder at a time, the dead are replaced, the late cannot publish."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from infra.store.errors import LeaseHeldError, LeaseLostError, StoreError
from infra.store.faulty import AwayStore, Died, Fault, FaultyStore
from infra.store.folder import FolderStore
from infra.store.lease import generation, lease
from infra.store.leases import holders, release, unreleased
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
        mine._renew()
    now, (former,) = holders(store)
    assert now == []
    assert (former.name, former.holder.owner.host, former.generation) == ("work", "elsewhere", 1)
    with lease(store, "work"):  # released by the one before: nobody was replaced
        assert holders(store)[1] == [replace(former, version=ANY)]


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


def cut_off(store: Store) -> Any:
    return AwayStore(store)


def expiry(store: Store) -> float:
    return float(json.loads(store.read("leases/work.json"))["expires"])


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def taken_by_somebody_else(store: Store) -> None:
    """As another machine does once the time is up."""
    record = json.loads(store.read("leases/work.json"))
    record["holder"]["nonce"] = "somebody else"
    store.write("leases/work.json", json.dumps({**record, "generation": 2, "expires": time.time() + 60}).encode())


def test_a_store_that_is_away_for_longer_than_the_lease_takes_it_from_nobody(store: Store) -> None:
    away = cut_off(store)
    with lease(away, "work", ttl=0.3) as mine:
        away.away = True
        until(lambda: expiry(store) < time.time() - 0.3)
        mine.check_not_lost()  # so work goes on
        away.away = False
        until(lambda: expiry(store) > time.time())
        mine.check()
    with lease(store, "work") as other:
        assert other.generation == 2


def test_before_anything_is_published_the_lease_holds_again(store: Store) -> None:
    away = cut_off(store)
    with lease(away, "work", ttl=1.5) as mine:
        record = json.loads(store.read("leases/work.json"))
        store.write("leases/work.json", json.dumps({**record, "expires": time.time() - 1}).encode())
        away.away = True
        with pytest.raises(StoreError, match="cut off"):
            mine.check(patience=0)
        threading.Timer(0.2, lambda: setattr(away, "away", False)).start()
        mine.check()
        assert expiry(store) > time.time()


def test_who_was_replaced_while_cut_off_is_told_and_stops(store: Store) -> None:
    away = cut_off(store)
    with lease(away, "work", ttl=0.3) as mine:
        away.away = True
        until(lambda: expiry(store) < time.time())
        taken_by_somebody_else(store)
        mine.check_not_lost()
        away.away = False
        until(mine._lost.is_set)
        with pytest.raises(LeaseLostError, match="took this work over") as caught:
            mine.check_not_lost()
        assert caught.value.exit_code == 5
        with pytest.raises(LeaseLostError):
            mine.check()
    assert json.loads(store.read("leases/work.json"))["generation"] == 2


def test_what_happened_is_told_and_not_that_the_lease_could_not_be_given_back(store: Store) -> None:
    away = cut_off(store)
    with pytest.raises(KeyboardInterrupt), lease(away, "work"):
        away.away = True
        raise KeyboardInterrupt


def test_the_lease_of_the_dead_is_released_once_and_never_that_of_who_took_it(store: Store) -> None:
    process = holder(store)
    process.kill()
    process.communicate()
    (dead,) = unreleased(store)
    assert dead.holder.is_dead()
    with lease(store, "work") as mine:
        assert not release(store, dead)
        mine.check()
    process = holder(store)
    process.kill()
    process.communicate()
    (dead,) = unreleased(store)
    assert release(store, dead)
    assert not release(store, dead)
    assert unreleased(store) == []
    assert generation(store, "work") == 3
