"""Nothing is served whose files are not what they were when they were published."""

import hashlib
import shutil
from pathlib import Path

import pytest

from infra.store.errors import DamagedError, InputError
from infra.store.folder import FolderStore
from infra.store.manifest import publish
from llm.models.hub import load_model, save_model
from llm.serving.package import load_package
from tests.llm.serving.conftest import CONTEXT


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _published(store: FolderStore, folder: Path, tmp_path: Path) -> tuple[Path, str]:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    thing = publish(store, "runs/r1/artifacts/package", copy, {})
    return store.root / thing.prefix, thing.version


def test_a_package_says_what_it_is(base_folder: Path, chat_folder: Path, classifier_folder: Path) -> None:
    documents = [load_package(folder, "m").document() for folder in (base_folder, chat_folder, classifier_folder)]
    assert [(each["kind"], each["chat"]) for each in documents] == [("causal", False), ("causal", True), ("classifier", False)]
    assert documents[0] == {
        "model": "m",
        "kind": "causal",
        "chat": False,
        "package": None,
        "weights_sha256": _sha256(base_folder / "model.safetensors"),
        "context_length": CONTEXT,
        "precision": "fp32",
    }
    assert load_package(base_folder).name == base_folder.name


def test_a_package_in_the_store_is_known_by_its_version(store: FolderStore, base_folder: Path, tmp_path: Path) -> None:
    folder, version = _published(store, base_folder, tmp_path)
    package = load_package(folder)
    assert (package.version, package.weights_sha256) == (version, _sha256(base_folder / "model.safetensors"))


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_file_that_changed_since_it_was_published_is_refused(
    store: FolderStore, base_folder: Path, tmp_path: Path, name: str
) -> None:
    folder, _ = _published(store, base_folder, tmp_path)
    data = bytearray((folder / name).read_bytes())
    data[-2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(DamagedError, match="its manifest says") as error:
        load_package(folder)
    assert error.value.where == str(folder / name)


def test_a_file_that_is_gone_is_named(store: FolderStore, base_folder: Path, tmp_path: Path) -> None:
    folder, _ = _published(store, base_folder, tmp_path)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(DamagedError, match="missing") as error:
        load_package(folder)
    assert "tokenizer.json" in error.value.where


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_folder_that_is_no_package_says_what_it_lacks(base_folder: Path, tmp_path: Path, missing: str) -> None:
    folder = Path(shutil.copytree(base_folder, tmp_path / "copy"))
    (folder / missing).unlink()
    with pytest.raises(InputError) as error:
        load_package(folder)
    assert missing in str(error.value)


def test_a_folder_with_its_weights_in_shards_is_served_as_well(base_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(base_folder, tmp_path / "copy"))
    (folder / "model.safetensors").unlink()
    save_model(load_model(base_folder), folder, end_of_text=0, shard_bytes=20_000)
    assert len(list(folder.glob("*.safetensors"))) > 1
    package = load_package(folder)
    assert len(package.weights_sha256) == 64
    assert package.weights_sha256 != load_package(base_folder).weights_sha256
    assert len(list(package.probe())) > 0
