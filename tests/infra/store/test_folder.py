"""The folder store: what is written is read back whole, and never leaves the folder."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.store import open_store
from infra.store.errors import InputError, NotFoundError, StoreError
from infra.store.folder import FolderStore


def test_what_was_written_is_read_back_and_listed(store: FolderStore) -> None:
    store.write("stages/a.json", b"one")
    store.write("stages/a.json", b"two")
    store.write("stages-other/b.json", b"x")
    assert store.read("stages/a.json") == b"two"
    assert [(entry.name, entry.bytes) for entry in store.list("stages")] == [("stages/a.json", 3)]
    assert [entry.name for entry in store.list()] == ["stages-other/b.json", "stages/a.json"]


def test_of_many_writers_of_an_absent_name_exactly_one_wins(store: FolderStore) -> None:
    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(lambda writer: store.write_if_absent("leases/x.json", str(writer).encode()), range(64)))
    assert sum(won) == 1
    assert store.read("leases/x.json") == str(won.index(True)).encode()


def test_of_many_writers_of_one_version_exactly_one_replaces_it(store: FolderStore) -> None:
    store.write("head", b"0")
    version = store.read_versioned("head").version
    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(lambda writer: store.replace("head", str(writer).encode(), version), range(1, 33)))
    assert sum(won) == 1
    assert store.read("head") == str(won.index(True) + 1).encode()


def test_a_file_moves_into_the_store(store: FolderStore, tmp_path: Path) -> None:
    source = tmp_path / "shard"
    source.write_bytes(b"tokens")
    store.put_file("datasets/d/1/shard", source)
    assert store.get_file("datasets/d/1/shard").read_bytes() == b"tokens"
    assert not source.exists()


def test_deleting_the_last_object_leaves_no_empty_folder(store: FolderStore) -> None:
    store.write("runs/r/checkpoints/step-1/manifest.json", b"{}")
    store.delete("runs/r/checkpoints/step-1/manifest.json")
    store.delete("runs/r/checkpoints/step-1/manifest.json")
    assert list(store.list()) == []
    assert not (store.root / "runs").exists()


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b", "", "a//b", "a\\b"])
def test_a_name_cannot_leave_the_store(store: FolderStore, name: str) -> None:
    with pytest.raises(StoreError):
        store.write(name, b"")


def test_a_missing_object_is_named(store: FolderStore) -> None:
    with pytest.raises(NotFoundError, match=r"stages/none\.json"):
        store.read("stages/none.json")
    with pytest.raises(NotFoundError):
        store.get_file("stages/none.json")


def test_a_store_that_cannot_be_written_says_so_and_how_to_mend_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = FolderStore(tmp_path / "file" / "store")
    with pytest.raises(StoreError, match=r"cannot be read or written.*not a directory"):
        store.check_writable()
    with pytest.raises(StoreError, match="SLIPWAY_STORE"):
        store.write("x", b"")


def test_checking_that_a_store_is_writable_leaves_nothing_behind(tmp_path: Path) -> None:
    FolderStore(tmp_path / "new" / "store").check_writable()
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_kind_of_store_is_refused() -> None:
    with pytest.raises(InputError, match="ftp://"):
        open_store("ftp://host/path")
