"""Importing a model: what is known of it is kept, the same content is brought in once, and what is refused is said before."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from flows.exporting import export_model
from flows.importing import import_model, named
from flows.lineage.asking import Asker
from flows.lineage.verify import verify
from flows.origins import licence_of, origin
from flows.pipeline.session import Session
from infra.store.errors import DamagedError, InputError
from infra.store.manifest import load
from infra.tracking.client import connect
from llm.models.hub import load_model
from llm.models.litgpt import write_checkpoint
from tests.flows.candidates import Quay
from tests.llm.models.folders import make_folder

CARD = "---\nlicense: apache-2.0\nlanguage: en\n---\n# Ship\n"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database, migrated once for all tests here."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    connect(f"sqlite:///{path}")
    return path


@pytest.fixture
def quay(tmp_path: Path, database: Path) -> Iterator[Quay]:
    yield Quay.made(tmp_path / "home", database)
    origin.cache_clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = make_folder(tmp_path / "Ship-1B", "llama")
    (made / "README.md").write_text(CARD)
    (made / "LICENSE").write_text("\n   Apache License\n  Version 2.0\n")
    return made


def brought_in(quay: Quay, folder: Path, name: str = "ship") -> list[Any]:
    origin.cache_clear()
    return list(import_model(Session.open(quay.settings), origin(str(folder)), name))


def test_an_import_is_a_registered_candidate_that_says_where_it_came_from(quay: Quay, folder: Path) -> None:
    imported, registered = brought_in(quay, folder)
    assert registered.result["model"] == "models:/ship/1"
    (version,) = quay.registry.versions("ship")
    package = load(quay.store, imported.record.outputs["package"].prefix)
    weights = package.files["model.safetensors"]["sha256"]
    told = {name: version.tags[name] for name in ("review.status", "kind", "imported.from", "licence", "weights.sha256")}
    assert told == {
        "review.status": "candidate",
        "kind": "base",
        "imported.from": "Ship-1B",
        "licence": "apache-2.0",
        "weights.sha256": weights,
    }
    assert version.source == package.uri
    assert "Nothing of it has been measured" in version.description
    assert {"MLmodel", "lineage.json", "LICENSE", "tokenizer.json", "config.json"} <= {*package.files}
    assert "gates" not in version.tags  # which nothing may claim before a measurement


def test_the_same_content_is_imported_once_wherever_it_lies(quay: Quay, folder: Path, tmp_path: Path) -> None:
    first, _ = brought_in(quay, folder)
    shutil.copytree(folder, tmp_path / "elsewhere")
    second, registered = brought_in(quay, tmp_path / "elsewhere")
    assert (second.state, registered.state) == ("reused", "reused")
    assert second.record.run == first.record.run
    assert len(quay.registry.versions("ship")) == 1


def test_explain_tells_the_source_and_finds_a_changed_weight(quay: Quay, folder: Path) -> None:
    imported, _ = brought_in(quay, folder)
    asker = Asker(quay.settings)
    graph = asker.explain("models:/ship/1")
    (outside,) = [node for node in graph.nodes.values() if node.kind == "model folder"]
    assert (outside.facts["from"], outside.facts["licence"]) == ("Ship-1B", "apache-2.0")
    assert {*outside.facts["files"]} >= {"model.safetensors", "config.json", "tokenizer.json"}
    assert not [finding for each in verify(graph, asker.store, quay.ledger) for finding in each.findings]
    weights = load(quay.store, imported.record.outputs["package"].prefix).path("model.safetensors")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert [finding for each in verify(graph, asker.store, quay.ledger) for finding in each.findings]


def test_a_litgpt_checkpoint_comes_in_as_the_same_model(quay: Quay, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "lit").mkdir()
    write_checkpoint(folder, tmp_path / "lit", name="ship")
    imported, _ = brought_in(quay, tmp_path / "lit")
    package = load(quay.store, imported.record.outputs["package"].prefix)
    ids = torch.arange(20)[None]
    assert torch.equal(load_model(package.folder())(ids), load_model(folder)(ids))
    assert json.loads(package.path("lineage.json").read_text())["layout"] == "litgpt"


def test_a_package_is_exported_without_our_own_files_and_comes_back_the_same(quay: Quay, folder: Path, tmp_path: Path) -> None:
    imported, _ = brought_in(quay, folder)
    package = load(quay.store, imported.record.outputs["package"].prefix)
    (tmp_path / "out").mkdir()
    assert export_model(package.folder(), tmp_path / "out", "hf", name="ship") == "apache-2.0"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "LICENSE",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    again, _ = brought_in(quay, tmp_path / "out", "back")
    assert again.record.outputs["package"].version == package.version


def test_a_chat_template_in_a_file_of_its_own_is_kept(quay: Quay, folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    imported, _ = brought_in(quay, folder)
    package = load(quay.store, imported.record.outputs["package"].prefix)
    assert json.loads(package.path("tokenizer_config.json").read_text())["chat_template"] == "{{ messages }}"


def test_weights_in_pickle_are_refused_with_the_way_out(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="pickle") as error:
        origin(str(folder))
    assert "safetensors" in error.value.mend
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    ("file", "what"), [("config.json", "no config.json"), ("tokenizer.json", "no tokenizer"), ("model.safetensors", "no weights")]
)
def test_what_a_folder_lacks_is_named(folder: Path, file: str, what: str) -> None:
    (folder / file).unlink()
    origin.cache_clear()
    with pytest.raises(InputError, match=what):
        origin(str(folder))


def test_a_model_that_does_not_load_leaves_nothing_behind(quay: Quay, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 128, "head_dim": 32}))
    with pytest.raises(DamagedError, match="has shape"):
        brought_in(quay, folder)
    assert not list(quay.store.list("runs"))
    assert quay.registry.versions() == []


def test_quantised_weights_are_refused_by_name(quay: Quay, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "gptq"}}))
    with pytest.raises(InputError, match="gptq"):
        brought_in(quay, folder)


@pytest.mark.parametrize(
    ("files", "licence"),
    [
        ({"README.md": CARD}, "apache-2.0"),
        ({"README.md": "---\nlicense: other\nlicense_name: llama3.2\n---\n"}, "llama3.2"),
        ({"README.md": "no front matter", "LICENSE.txt": "\n MIT License\n\nCopyright"}, "MIT License (LICENSE.txt)"),
        ({"README.md": "---\nlicense: [broken\n---\n"}, ""),
        ({}, ""),
    ],
)
def test_the_licence_is_read_from_where_it_is_stated(tmp_path: Path, files: dict[str, str], licence: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert licence_of(tmp_path) == licence


@pytest.mark.parametrize(
    ("place", "name"), [("hf://Qwen/Qwen3-0.6B@main", "qwen3-0.6b"), ("/models/My Model/", "my-model"), ("hf://a/b", "b")]
)
def test_a_name_is_made_from_the_place(place: str, name: str) -> None:
    assert named(place) == name
