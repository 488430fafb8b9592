"""`slipway data show` and `export`: the card says where a dataset came from and how it was judged, and rows of every kind read."""

import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from flows.cli.data import show
from flows.cli.data_export import export
from infra.settings import Settings
from infra.store.errors import InputError
from infra.store.folder import FolderStore
from infra.store.manifest import MANIFEST
from tests.llm.data.kinds_of_datasets import MAKE
from tests.llm.data.token_corpus import texts, write_corpus

VALIDATION = {
    "passed": True,
    "expectations": [
        {"name": "min_rows", "success": True, "verdict": "passed", "observed": 30, "asked": "at least 3", "waiver": None},
        {
            "name": "max_duplicate_share",
            "success": False,
            "verdict": "waived",
            "observed": 0.6,
            "asked": "at most 0.5",
            "waiver": {"expectation": "max_duplicate_share", "who": "ann", "reason": "a poem", "expires": "2027-01-31"},
        },
    ],
}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
    return FolderStore(Path(Settings.load().store))


def told(capsys: pytest.CaptureFixture[str], name: str, **options: Any) -> dict[str, Any]:
    show(name, **options, as_json=True)
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


@pytest.mark.parametrize("kind", list(MAKE))
def test_rows_of_every_kind_are_shown_the_same_each_time(
    store: FolderStore, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    thing = MAKE[kind](store, tmp_path / "made")
    first = told(capsys, kind, samples=2)
    assert first == told(capsys, kind, samples=2)
    assert (first["kind"], first["version"], len(first["samples"])) == (kind, thing.version, 2)
    assert first["sha256"] == {name: entry["sha256"] for name, entry in thing.files.items()}
    expected = {
        "corpus": {"id", "source", "text"},
        "tokens": {"split", "document", "tokens", "text"},
        "instruction": {"split", "id", "messages"},
        "preference": {"split", "id", "prompt", "chosen", "rejected"},
        "classification": {"split", "id", "label", "text"},
    }[kind]
    assert [set(sample) for sample in first["samples"]] == [expected, expected]
    show(kind, samples=1)
    shown = capsys.readouterr().out
    assert "from notes.jsonl, 4.2 kB, sha256 abababababab, licence CC0" in shown
    assert {"corpus": "of notes.jsonl: ", "tokens": "of notes.jsonl: "}.get(
        kind, "Ask 1" if kind != "classification" else "Text 1"
    ) in shown
    assert {"preference": "  rejected: Bad 15", "instruction": "  assistant: Say 15"}.get(kind, "") in shown


def test_tokens_are_decoded_to_the_text_of_the_split_that_is_asked_for(
    store: FolderStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    MAKE["tokens"](store, tmp_path / "made")
    every = [told(capsys, "tokens", samples=99, split=split)["samples"] for split in ("train", "validation", "test")]
    assert sorted(sample["text"] for of in every for sample in of) == sorted(document.text for document in texts(30))
    assert [{sample["split"] for sample in of} for of in every] == [{"train"}, {"validation"}, {"test"}]
    assert len({len(of) for of in every}) > 1


def test_the_card_tells_what_was_left_out_and_who_waived_what(
    store: FolderStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rejected = {"empty": 2, "near-duplicate": 1200}
    mixture = {"web": 8000, "books": 1000}
    write_corpus(store, tmp_path / "made", texts(30), bytes=9000, rejected=rejected, validation=VALIDATION, mixture=mixture)
    show("notes", samples=0)
    shown = capsys.readouterr().out
    assert shown.startswith("notes/")
    assert "  30 documents, 9.0 kB of text" in shown
    assert "  web: 8.0 kB of text" in shown
    assert "  left out: empty 2, near-duplicate 1,200" in shown
    assert "  validation: passed, 1 of 2 expectations hold" in shown
    assert "    waived: max_duplicate_share, 0.6 where at most 0.5 is asked, waived by ann until 2027-01-31: a poem" in shown
    assert told(capsys, "notes", samples=0)["validation"] == VALIDATION


def test_a_text_that_steers_a_terminal_is_shown_and_steers_nothing(
    store: FolderStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = [type(text)(text.id, text.parent, text.source, "\x1b[2J" + "line\n" * 50) for text in texts(3)]
    write_corpus(store, tmp_path / "made", bad, bytes=90)
    show("notes", samples=1)
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\\x1b[2Jline" in shown
    assert shown.count("line") == 8
    assert shown.endswith("line …\n")


def test_what_cannot_be_shown_is_said_in_a_sentence(store: FolderStore, tmp_path: Path) -> None:
    MAKE["corpus"](store, tmp_path / "made")
    with pytest.raises(InputError, match="did you mean corpus"):
        show("corpsu")
    with pytest.raises(InputError, match="no split is named 'dev'"):
        show("corpus", split="dev")
    with pytest.raises(InputError, match="a corpus is not split yet"):
        show("corpus", split="test")


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_an_exported_dataset_is_there_whole_or_not_at_all(
    store: FolderStore, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: Any
) -> None:
    made = MAKE["instruction"](store, tmp_path / "made")
    export("instruction", tmp_path / "out", to=form, as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert document["rows"] == made.facts["splits"]
    folder = document["folder"]
    found = datasets.load_from_disk(folder) if form == "arrow" else datasets.load_dataset("parquet", data_dir=folder)
    assert {split: len(rows) for split, rows in found.items()} == made.facts["splits"]
    with pytest.raises(InputError, match="something is there already"):
        export("instruction", tmp_path / "out")
    path = store.root / made.prefix / "instructions.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match="damaged"):
        export("instruction", tmp_path / "more", to=form)
    assert not (tmp_path / "more").exists()
    assert (store.root / made.prefix / MANIFEST).is_file()
