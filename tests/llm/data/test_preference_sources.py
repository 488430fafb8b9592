"""Preferences are read from any format, nested lists of Parquet too; a pair that teaches nothing is refused, or left out."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.store.errors import InputError
from llm.data.preference_config import PreferenceData
from llm.data.preference_sources import gather, inspect_preferences, judge

HI = {"role": "user", "content": "Hi"}


def said(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def write(path: Path, *rows: dict[str, Any]) -> PreferenceData:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    else:
        path.write_text("\n".join(map(json.dumps, rows)))
    return PreferenceData(path=str(path))


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_chats_are_read_from_nested_lists(tmp_path: Path, name: str) -> None:
    data = write(tmp_path / name, {"prompt": "Hi", "chosen": [HI, said("Yes.")], "rejected": [HI, said("No.")], "score": 0.5})
    (row,) = judge(data).kept
    assert (row.id, row.question, row.chosen, row.rejected) == (f"{name}:1", "Hi", "Yes.", "No.")
    assert inspect_preferences(data).summary == f"1 rows in {name}; chats with a chosen and a rejected answer (chosen, rejected)"


def test_the_first_pair_that_teaches_nothing_is_refused_or_all_are_left_out(tmp_path: Path) -> None:
    rows = [{"prompt": f"What is {n}?", "chosen": f"It is {n}.", "rejected": "No idea."} for n in range(9)]
    data = write(tmp_path / "a.jsonl", *rows, {"prompt": "a", "chosen": "b", "rejected": "b"})
    with pytest.raises(InputError) as caught:
        inspect_preferences(data)
    assert caught.value.where == f"{tmp_path}/a.jsonl, line 10"
    assert "Nothing is learnt from a choice between two that are the same." in caught.value.what
    assert caught.value.mend.endswith("or pass --set prefer.data.on_invalid=drop to leave it out.")
    found = gather(PreferenceData(path=data.path, on_invalid="drop"))
    assert (found.rows.reasons, len(found.splits)) == ({"same-answers": 1}, 9)
    assert set(found.splits) == {"train", "validation", "test"}
    numbers = found.rows.numbers()
    assert (numbers["rows"], numbers["same_answers_share"], numbers["longest_answer_bytes"]) == (9, 0.1, 8)
    assert numbers["length_ratio"] == pytest.approx(8 / 8)


def test_columns_may_be_named(tmp_path: Path) -> None:
    data = write(tmp_path / "a.jsonl", {"ask": "Hi", "good": "a", "bad": "b"})
    with pytest.raises(InputError, match="chosen and rejected"):
        judge(data)
    named = PreferenceData(path=data.path, prompt_column="ask", chosen_column="good", rejected_column="bad")
    assert [(row.question, row.chosen, row.rejected) for row in judge(named).kept] == [("Hi", "a", "b")]


def test_the_books_pairs_are_read_but_those_that_say_the_same_twice(data_folder: Path) -> None:
    found = judge(PreferenceData(path=str(data_folder / "preference-1100")))
    assert (found.rows, len(found.kept), found.reasons) == (900, 894, {"same-answers": 6})
    assert found.columns_found == "a prompt (instruction, input) with a chosen and a rejected answer"
    numbers = found.numbers()
    assert 0.9 < numbers["length_ratio"] < 1.1
    assert 0 < numbers["near_duplicate_share"] < 0.05
