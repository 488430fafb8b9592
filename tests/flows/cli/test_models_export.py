"""`slipway models export`: the folder is there whole or not at all, and nothing of the user's is overwritten."""

import json
from pathlib import Path

import pytest

from flows.cli.models_export import export
from infra.store.errors import InputError
from tests.llm.models.folders import make_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = make_folder(tmp_path / "ship", "llama")
    (made / "README.md").write_text("---\nlicense: mit\n---\n")
    (made / "LICENSE").write_text("MIT License")
    (made / "MLmodel").write_text("ours")
    return made


def test_one_json_document_says_what_was_written(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export(str(folder), tmp_path / "out", to="gguf", as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert {"ship.gguf", "LICENSE"} == {*told["files"]} == {path.name for path in (tmp_path / "out").iterdir()}
    assert (told["format"], told["licence"], told["folder"]) == ("gguf", "mit", str(tmp_path / "out"))
    assert told["bytes"] == sum(path.stat().st_size for path in (tmp_path / "out").iterdir())


def test_a_refused_export_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["LlamaForSequenceClassification"]}))
    for form in ("gguf", "litgpt"):
        with pytest.raises(InputError, match="classifier|LlamaForSequenceClassification"):
            export(str(folder), tmp_path / "out", to=form)
    assert [path.name for path in tmp_path.iterdir()] == ["ship"]


def test_a_folder_with_something_in_it_is_not_written_into(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    with pytest.raises(InputError, match="something is there already"):
        export(str(folder), tmp_path / "out")
    assert (tmp_path / "out/mine.txt").read_text() == "mine"


def test_an_outtype_without_gguf_is_a_mistake(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--outtype"):
        export(str(folder), tmp_path / "out", to="hf", outtype="f32")
