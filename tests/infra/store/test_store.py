"""Every store: what is written is read back whole, of several writers one wins, and no name leaves it."""

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.store.errors import NotFoundError, StoreError
from infra.store.protocol import Store


def test_what_was_written_is_read_back_and_listed(store: Store) -> None:
    store.write("stages/a.json", b"one")
    store.write("stages/a.json", b"two")
    store.write("stages-other/b.json", b"x")
    assert store.read("stages/a.json") == b"two"
    assert [(entry.name, entry.bytes) for entry in store.list("stages")] == [("stages/a.json", 3)]
    assert [entry.name for entry in store.list()] == ["stages-other/b.json", "stages/a.json"]


def test_of_many_writers_of_an_absent_name_exactly_one_wins(atomic_store: Store) -> None:
    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(lambda writer: atomic_store.write_if_absent("leases/x.json", str(writer).encode()), range(64)))
    assert sum(won) == 1
    assert atomic_store.read("leases/x.json") == str(won.index(True)).encode()


def test_of_many_writers_of_one_version_exactly_one_replaces_it(atomic_store: Store) -> None:
    atomic_store.write("head", b"0")
    version = atomic_store.read_versioned("head").version
    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(lambda writer: atomic_store.replace("head", str(writer).encode(), version), range(1, 33)))
    assert sum(won) == 1
    assert atomic_store.read("head") == str(won.index(True) + 1).encode()


def test_a_file_moves_into_the_store(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "shard"
    source.write_bytes(b"tokens")
    store.put_file("datasets/d/1/shard", source)
    assert store.get_file("datasets/d/1/shard").read_bytes() == b"tokens"
    assert not source.exists()


def test_what_was_deleted_is_gone_and_may_be_deleted_again(store: Store) -> None:
    store.write("runs/r/checkpoints/step-1/manifest.json", b"{}")
    store.delete("runs/r/checkpoints/step-1/manifest.json")
    store.delete("runs/r/checkpoints/step-1/manifest.json")
    assert list(store.list()) == []
    assert not store.exists("runs/r/checkpoints/step-1/manifest.json")


def test_a_file_that_was_replaced_is_read_anew(store: Store, tmp_path: Path) -> None:
    for content in (b"first", b"second"):
        (tmp_path / "file").write_bytes(content)
        store.put_file("runs/r/metrics.parquet", tmp_path / "file")
        assert store.get_file("runs/r/metrics.parquet").read_bytes() == content
    store.write("runs/r/metrics.parquet", b"third")
    assert store.get_file("runs/r/metrics.parquet").read_bytes() == b"third"
    store.delete("runs/r/metrics.parquet")
    with pytest.raises(NotFoundError):
        store.get_file("runs/r/metrics.parquet")


def test_a_version_that_is_gone_or_old_is_not_replaced(atomic_store: Store) -> None:
    atomic_store.write("head", b"0")
    version = atomic_store.read_versioned("head").version
    assert atomic_store.replace("head", b"1", version)
    assert not atomic_store.replace("head", b"2", version)
    version = atomic_store.read_versioned("head").version
    atomic_store.delete("head")
    assert not atomic_store.replace("head", b"3", version)
    assert not atomic_store.exists("head")


def test_names_come_in_order_however_many_there_are(store: Store) -> None:
    names = [f"documents/{number:04d}.json" for number in (*range(0, 1_100, 100), 3, 7)] + [
        "documents/Ä b.json",
        "documents/a+b.json",
    ]
    for name in names:
        store.write(name, name.encode())
    assert [entry.name for entry in store.list("documents")] == sorted(names)
    assert all(store.read(name) == name.encode() for name in names)


def test_another_process_opens_the_same_store_by_its_url(store: Store) -> None:
    store.write("a", b"here")
    assert pickle.loads(pickle.dumps(store)).read("a") == b"here"
    read = "import sys; from infra.store import open_store; print(open_store(sys.argv[1]).read('a').decode())"
    done = subprocess.run([sys.executable, "-c", read, store.url], capture_output=True, text=True, check=True)
    assert done.stdout == "here\n"


def test_checking_that_a_store_is_writable_leaves_nothing_in_it(atomic_store: Store) -> None:
    atomic_store.check_writable()
    assert list(atomic_store.list()) == []


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b", "", "a//b", "a\\b"])
def test_a_name_cannot_leave_the_store(store: Store, name: str) -> None:
    with pytest.raises(StoreError):
        store.write(name, b"")


def test_a_missing_object_is_named(store: Store) -> None:
    with pytest.raises(NotFoundError, match=r"stages/none\.json"):
        store.read("stages/none.json")
    with pytest.raises(NotFoundError):
        store.get_file("stages/none.json")
