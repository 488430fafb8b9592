"""Data sets of the hub's layout: configs, splits and ids as they are there; what is missing is said in one sentence."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.store.errors import InputError
from llm.data.reading.inspect import inspect
from llm.data.reading.rows import read, read_span
from llm.data.reading.spans import spans
from llm.data.rows import Rejected, Row
from tests.llm.data.reading.dataset_hub import COMMIT, serving

CARD = """---
license: mit
configs:
- config_name: en
  data_files:
  - {split: train, path: "en/train-*.jsonl"}
  - {split: test, path: "en/test.jsonl"}
- config_name: fr
  data_files: "fr/*.jsonl"
---
"""


def write(path: Path, *rows: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set with two configs, one of them with two splits, in three files."""
    top = tmp_path / "a set"
    write(top / "en/train-0.jsonl", {"id": "a", "text": "one"}, {"id": "b", "text": "two"})
    write(top / "en/train-1.jsonl", {"id": "c", "text": "three"})
    write(top / "en/test.jsonl", {"id": "d", "text": "four"})
    write(top / "fr/all.jsonl", {"id": "e", "text": "un"})
    (top / "README.md").write_text(CARD)
    return top


def test_the_rows_of_a_split_come_in_order_with_their_ids(folder: Path) -> None:
    found = inspect(f"hf://{folder}:en")
    assert (found.kind, [file.name for file in found.files]) == ("hub", ["a set/en/train"])
    items = list(read(found))
    assert [(item.id, item.source, item.number, item.fields["text"]) for item in items if isinstance(item, Row)] == [
        ("a", "a set/en/train", 1, "one"),
        ("b", "a set/en/train", 2, "two"),
        ("c", "a set/en/train", 3, "three"),
    ]
    (span,) = spans(found, 1)
    assert list(read_span(span)) == items
    assert [item.id for item in read(inspect(f"hf://{folder}:en#test"))] == ["d"]
    assert [item.id for item in read(inspect(f"hf://{folder}:fr"))] == ["e"]


def test_columns_that_are_not_wanted_are_left_unread(folder: Path) -> None:
    (row,) = read(inspect(f"hf://{folder}:fr"), columns=["text"], id_column="")
    assert isinstance(row, Row)
    assert dict(row.fields) == {"text": "un"}


def test_the_version_changes_with_the_content_alone(folder: Path) -> None:
    before = inspect(f"hf://{folder}:fr").version
    moved = folder.rename(folder.parent / "there")
    moved.rename(folder)
    assert inspect(f"hf://{folder}:fr").version == before
    write(folder / "fr/all.jsonl", {"id": "e", "text": "deux"})
    assert inspect(f"hf://{folder}:fr").version != before


@pytest.mark.parametrize(
    ("address", "message"),
    {
        "hf://{folder}": r"cannot be read \(Config name is missing",
        "hf://{folder}:de": r"cannot be read \(BuilderConfig 'de' not found",
        "hf://{folder}:en#validation": "no split 'validation'; its splits are train, test",
        "hf://{folder}/nothing": "cannot be read",
        "hf://owner/nothing": "cannot be looked up .*offline",
    }.items(),
)
def test_what_is_not_there_is_said_in_one_sentence(address: str, message: str, folder: Path) -> None:
    with pytest.raises(InputError, match=message) as caught:
        inspect(address.format(folder=folder))
    assert "\n" not in caught.value.what
    assert caught.value.where.startswith("hf://")


def test_which_split_is_meant_must_be_said_where_none_is_called_train(folder: Path) -> None:
    (folder / "README.md").write_text(CARD.replace("split: train", "split: dev"))
    with pytest.raises(InputError, match="which split is meant\\? Its splits are dev, test"):
        inspect(f"hf://{folder}:en")


def test_a_damaged_file_of_a_data_set_ends_it_with_a_rejected_row(folder: Path) -> None:
    (folder / "en/train-1.jsonl").write_text('{"id": "c", "text": "three"')
    items = list(read(inspect(f"hf://{folder}:en")))
    assert [item.id for item in items if isinstance(item, Row)] == ["a", "b"]
    assert [(item.row, item.reason) for item in items if isinstance(item, Rejected)] == [(3, "unreadable-file")]


def test_a_data_set_of_the_hub_is_streamed_at_the_revision_that_was_found(tmp_path: Path) -> None:
    rows = {"train": [{"id": "a", "text": "one"}, {"id": "b", "text": "two"}], "test": [{"id": "c", "text": "three"}]}
    files = {f"data/{split}-0.jsonl": "".join(f"{json.dumps(row)}\n" for row in rows[split]).encode() for split in rows}
    code = f"""
from llm.data.reading.inspect import inspect
from llm.data.reading.rows import read
for path in ("hf://owner/name", "hf://owner/name@v1#test"):
    found = inspect(path)
    print(found.kind, found.licence, found.files[0].sha256 == {COMMIT!r}, found.files[0].location)
    print([(item.id, item.fields["text"]) for item in read(found)])
try:
    inspect("hf://owner/other")
except Exception as error:
    print(type(error).__name__, error.what)
"""
    with serving({"README.md": b"---\nlicense: mit\n---\n", **files}) as url:
        environment = {**os.environ, "HF_ENDPOINT": url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
    assert done.stdout.splitlines() == [
        f"hub mit True hf://owner/name@{COMMIT}#train",
        "[('a', 'one'), ('b', 'two')]",
        f"hub mit True hf://owner/name@{COMMIT}#test",
        "[('c', 'three')]",
        "InputError no such data set, or a private one",
    ], done.stderr
