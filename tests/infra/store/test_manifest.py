"""Finished things: visible when whole, checked before use."""

from pathlib import Path

import pytest

from infra.store.errors import DamagedError, NotFoundError
from infra.store.faulty import Died, Fault, FaultyStore
from infra.store.manifest import content_version, describe, find, load, publish
from infra.store.protocol import Store


def make(folder: Path, content: str = "tokens") -> Path:
    (folder / "deep").mkdir(parents=True)
    (folder / "a.bin").write_text(content)
    (folder / "deep" / "b.bin").write_text("more")
    return folder


def test_a_published_folder_comes_back_with_its_facts(store: Store, tmp_path: Path) -> None:
    made = publish(store, "datasets/d/1", make(tmp_path / "f"), {"kind": "tokens"})
    thing = load(store, "datasets/d/1")
    assert thing.facts == {"kind": "tokens"}
    assert thing.version == made.version
    assert thing.path("deep/b.bin").read_text() == "more"
    assert (thing.folder() / "a.bin").read_text() == "tokens"
    assert thing.folder("deep/b.bin") == thing.folder()


def test_the_version_is_of_content_alone(tmp_path: Path) -> None:
    first, second, other = make(tmp_path / "1"), make(tmp_path / "2"), make(tmp_path / "3", "other")
    assert content_version(describe(first)) == content_version(describe(second)) != content_version(describe(other))


@pytest.mark.parametrize("damage", ["changed", "shorter", "gone"])
def test_a_damaged_file_is_named_and_never_used(store: Store, tmp_path: Path, damage: str) -> None:
    thing = publish(store, "datasets/d/1", make(tmp_path / "f"), {})
    thing.check()
    if damage == "gone":
        store.delete("datasets/d/1/a.bin")
    else:
        store.forget("datasets/d/1/a.bin")
        store.write("datasets/d/1/a.bin", b"tokenS" if damage == "changed" else b"tok")
    with pytest.raises(DamagedError, match=r"a\.bin") as caught:
        thing.check()
    assert "run again" in caught.value.mend


@pytest.mark.parametrize("fault", Fault)
def test_a_crash_at_any_write_leaves_nothing_or_the_whole(store: Store, tmp_path: Path, fault: Fault) -> None:
    counting = FaultyStore(store)
    publish(counting, "datasets/count/1", make(tmp_path / "count"), {})
    for at in range(1, counting.writes + 1):
        prefix = f"datasets/{fault.name.lower()}/{at}"
        with pytest.raises((Died, Exception)):
            publish(FaultyStore(store, at=at, fault=fault), prefix, make(tmp_path / f"{fault.name}-{at}"), {})
        last = at == counting.writes and fault is Fault.DIE_AFTER
        assert (find(store, prefix) is not None) is last
        publish(store, prefix, make(tmp_path / f"{fault.name}-{at}-again"), {}).check()


def test_half_a_thing_is_no_thing(store: Store) -> None:
    store.write("datasets/d/1/a.bin", b"tokens")
    assert find(store, "datasets/d/1") is None
    with pytest.raises(NotFoundError):
        load(store, "datasets/d/1")


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"format": 99, "version": "", "files": {}, "facts": {}}'])
def test_a_manifest_that_cannot_be_read_is_named(store: Store, text: bytes) -> None:
    store.write("datasets/d/1/manifest.json", text)
    with pytest.raises(DamagedError, match=r"d/1/manifest\.json"):
        find(store, "datasets/d/1")
