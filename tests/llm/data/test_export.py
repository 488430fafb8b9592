"""What is exported is read by `datasets` as it is: every row of every split, and tokens that decode to the text."""

from pathlib import Path
from typing import Any

import datasets
import pytest
from transformers import AutoTokenizer

from infra.store.errors import InputError
from infra.store.folder import FolderStore
from infra.store.manifest import publish
from llm.data.classification import read_examples
from llm.data.corpus import read_corpus
from llm.data.export import Format, export_dataset
from llm.data.instructions import read_instructions
from llm.data.preferences import read_preferences
from llm.data.splitting import SPLITS
from llm.data.tokens import TokenStream
from tests.llm.data.kinds_of_datasets import MAKE
from tests.llm.data.token_corpus import texts


def read_back(folder: Path, form: Format, tmp_path: Path) -> Any:
    if form == "arrow":
        return datasets.load_from_disk(str(folder))
    return datasets.load_dataset("parquet", data_dir=str(folder), cache_dir=str(tmp_path / "cache"))


@pytest.mark.parametrize("form", ["parquet", "arrow"])
@pytest.mark.parametrize("kind", list(MAKE))
def test_datasets_reads_every_row_of_every_kind(store: FolderStore, tmp_path: Path, kind: str, form: Format) -> None:
    thing = MAKE[kind](store, tmp_path / "made")
    (folder := tmp_path / "out").mkdir()
    counts = export_dataset(thing, folder, form)
    found = read_back(folder, form, tmp_path)
    assert {split: len(rows) for split, rows in found.items()} == counts
    if kind == "corpus":
        assert [row["text"] for row in found["train"]] == [document.text for document in read_corpus(thing)]
        assert counts == {"train": 30}
        return
    assert sum(counts.values()) == 30
    assert set(counts) == set(SPLITS)
    for split in SPLITS:
        rows = list(found[split])
        if kind == "tokens":
            assert [row["input_ids"][:-1] for row in rows] == [ids.tolist() for ids in TokenStream(thing, split).documents()]
        elif kind == "instruction":
            assert rows == [{"id": row.id, "messages": list(row.messages)} for row in read_instructions(thing, split)]
        elif kind == "preference":
            expected = [(row.id, list(row.prompt), row.chosen, row.rejected) for row in read_preferences(thing, split)]
            assert [tuple(row.values()) for row in rows] == expected
        else:
            assert rows == [{"id": row.id, "text": row.text, "label": row.label} for row in read_examples(thing, split)]


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_exported_tokens_decode_to_the_text_with_the_tokenizer_beside_them(
    store: FolderStore, tmp_path: Path, form: Format
) -> None:
    thing = MAKE["tokens"](store, tmp_path / "made")
    (folder := tmp_path / "out").mkdir()
    export_dataset(thing, folder, form)
    tokenizer = AutoTokenizer.from_pretrained(str(folder / "tokenizer"))
    found = read_back(folder, form, tmp_path)
    decoded = [tokenizer.decode(row["input_ids"], skip_special_tokens=True) for split in SPLITS for row in found[split]]
    assert sorted(decoded) == sorted(document.text for document in texts(30))


def test_what_is_no_dataset_is_refused(store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f/a.txt").write_text("a")
    thing = publish(store, "runs/a/artifacts/package", tmp_path / "f", {"kind": "package"})
    with pytest.raises(InputError, match="kind 'package' has no rows"):
        export_dataset(thing, tmp_path / "f", "parquet")
