"""The store in a folder: what a folder alone can do, and what can be wrong with one."""

from pathlib import Path

import pytest

from infra.store import open_store
from infra.store.errors import InputError, StoreError
from infra.store.folder import FolderStore


def test_deleting_the_last_object_leaves_no_empty_folder(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    store.write("runs/r/checkpoints/step-1/manifest.json", b"{}")
    store.delete("runs/r/checkpoints/step-1/manifest.json")
    assert not (store.root / "runs").exists()


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
