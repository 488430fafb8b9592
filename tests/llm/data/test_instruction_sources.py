"""Instructions of one's own are read from any format; the first wrong row is named before anything starts, or all are left out."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.store.errors import InputError
from llm.data.cleaning.config import CleaningConfig
from llm.data.config import DataConfig
from llm.data.instruction_config import InstructionDataConfig
from llm.data.instruction_sources import gather, inspect_instructions, judge

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
SHAREGPT = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}]


def alpaca(**other: Any) -> dict[str, Any]:
    return {"instruction": "Add 1 and 2.", "output": "3"} | other


def write(path: Path, *rows: Any) -> InstructionDataConfig:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    else:
        text = json.dumps(rows) if ".json" in path.suffixes else "\n".join(map(json.dumps, rows)) + "\n"
        path.write_bytes(gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else text.encode())
    return InstructionDataConfig(path=str(path))


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "a.json.gz", "a.parquet"])
def test_each_form_is_found_out_whatever_format_it_is_in(tmp_path: Path, name: str) -> None:
    data = write(tmp_path / name, alpaca(input=" 1 and 2\r\n", system=""), alpaca(input="", system=""))
    found = judge(data)
    assert [row.id for row in found.kept] == [f"{name}:1", f"{name}:2"]
    assert [row.question for row in found.kept] == ["Add 1 and 2.\n\n1 and 2", "Add 1 and 2."]
    assert inspect_instructions(data).summary == f"2 rows in {name}; Alpaca (system, instruction, input, output)"
    found = judge(write(tmp_path / name, {"messages": CHAT}))
    assert (found.columns_found, found.kept[0].messages) == ("chats (messages of role and content)", tuple(CHAT))
    found = judge(write(tmp_path / name, {"conversations": SHAREGPT}))
    assert (found.columns_found, found.kept[0].answer) == ("ShareGPT (conversations of from and value)", "Hello.")


def test_a_folder_of_several_forms_is_one_source(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", alpaca(), alpaca(instruction="Add 2 and 2.", output="4"))
    write(tmp_path / "b.parquet", {"messages": CHAT})
    found = judge(InstructionDataConfig(path=str(tmp_path)))
    assert [row.question for row in found.kept] == ["Add 1 and 2.", "Add 2 and 2.", "Hi"]
    assert found.columns_found == "2 Alpaca (instruction, input, output); 1 chats (messages of role and content)"


def test_a_folder_laid_out_for_the_hub_is_read_as_the_hub_reads_it_and_a_pattern_as_a_shell_does(tmp_path: Path) -> None:
    (tmp_path / "chats" / "data").mkdir(parents=True)
    rows = [{"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": "No." * n}]} for n in range(3)]
    write(tmp_path / "chats" / "data" / "train-00000-of-00001.parquet", *rows)
    hub = InstructionDataConfig(path=f"hf://{tmp_path}/chats")
    assert [(row.id, row.question) for row in judge(hub).kept] == [("chats/train:2", "1?"), ("chats/train:3", "2?")]
    with pytest.raises(InputError) as caught:
        inspect_instructions(hub)
    assert caught.value.where == f"hf://{tmp_path}/chats#train, row 1"
    assert len(judge(InstructionDataConfig(path=f"{tmp_path}/chats/**/*.parquet")).kept) == 2


def test_the_first_wrong_row_is_refused_with_the_count_of_those_like_it(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        inspect_instructions(write(tmp_path / "mine.jsonl", alpaca(), alpaca(), alpaca(output="")))
    assert caught.value.where == f"{tmp_path}/mine.jsonl, line 3"
    assert caught.value.what == '"output" is empty. Every example needs an answer to learn from.'
    assert caught.value.mend == "Mend the row, or remove it, or pass --set instruct.data.on_invalid=drop to leave it out."
    rows = [alpaca(), *[alpaca(output="")] * 3, alpaca(instruction="")]
    with pytest.raises(InputError) as caught:
        inspect_instructions(write(tmp_path / "mine.jsonl", *rows))
    assert caught.value.where.endswith("mine.jsonl, line 2")
    assert caught.value.mend.endswith("=drop to leave out the 3 rows like it (and the 1 wrong in another way).")


@pytest.mark.parametrize(
    ("name", "content", "where", "what"),
    [
        ("a.jsonl", b"", "a.jsonl", "empty: it holds no rows"),
        ("a.json", b"[]", "a.json", "empty: it holds no rows"),
        ("a.jsonl", b'{"instruction": "a", "output": "b"}\n\n{"instruction"', "a.jsonl, line 3", "Expecting"),
        ("a.jsonl", b'{"title": "a", "body": "b"}', "a.jsonl", 'its columns are "title", "body"'),
        ("a.jsonl", b"[1]\n[2]", "a.jsonl, line 1", "a row is an object, this is a list"),
        ("a.jsonl.gz", gzip.compress(b"{}" * 999, mtime=0)[:-9], "a.jsonl.gz", "truncated"),
        ("a.png", b"a,b", "a.png", "not a kind of file"),
    ],
)
def test_a_file_that_is_none_is_named(tmp_path: Path, name: str, content: bytes, where: str, what: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        inspect_instructions(InstructionDataConfig(path=str(tmp_path / name)))
    assert where in caught.value.where
    assert what in caught.value.what
    assert caught.value.mend


def test_a_file_that_is_nearly_there_is_guessed(tmp_path: Path) -> None:
    write(tmp_path / "mine.jsonl", alpaca())
    with pytest.raises(InputError, match=r"Did you mean mine\.jsonl\?"):
        inspect_instructions(InstructionDataConfig(path=str(tmp_path / "mini.jsonl")))


def test_half_a_surrogate_pair_is_turned_away_and_never_replaced(tmp_path: Path) -> None:
    text = '{"instruction": "a", "output": "c \\ud83d\\ude00"}\n{"instruction": "a \\ud83d b", "output": "c"}'
    (tmp_path / "a.jsonl").write_text(text)
    found = judge(InstructionDataConfig(path=str(tmp_path / "a.jsonl")))
    assert [row.answer for row in found.kept] == ["c 😀"]
    assert found.reasons == {"lone-surrogate": 1}


def test_the_version_is_that_of_the_content_wherever_it_lies(tmp_path: Path) -> None:
    given = [write(tmp_path / f"{name}.jsonl", alpaca(output=answer)) for name, answer in (("a", "3"), ("b", "3"), ("c", "4"))]
    versions = [inspect_instructions(data).version for data in given]
    assert versions[0] == versions[1] != versions[2]


def test_questions_that_a_model_will_be_tested_on_are_left_out_and_the_search_is_measured(tmp_path: Path) -> None:
    asked = [
        f"Which of these {n} rivers flows through the northern part of the largest desert of continent {n}?" for n in range(40)
    ]
    write(tmp_path / "test.jsonl", *({"question": question, "choices": ["Nile", "Niger"]} for question in asked))
    rows = [alpaca(instruction=f"Say how ship number {n} came to the quay by the sea at dawn.") for n in range(20)]
    data = write(tmp_path / "mine.jsonl", *rows, alpaca(instruction=f"Tell me:\n{asked[7].upper()}"))
    cleaning = CleaningConfig(evaluation_sets=(str(tmp_path / "test.jsonl"),), duplicates="exact")
    found = judge(data, cleaning)
    assert found.reasons == {"contamination": 1}
    assert found.numbers()["contamination_share"] == pytest.approx(1 / 21)
    assert found.numbers()["contamination_recall"] == 1.0
    assert "contamination_share" not in judge(data, CleaningConfig()).numbers()
    with pytest.raises(InputError, match="no such file"):
        judge(data, CleaningConfig(evaluation_sets=(str(tmp_path / "nowhere.jsonl"),)))


def test_a_source_that_changes_while_it_is_read_is_told(tmp_path: Path) -> None:
    data = write(tmp_path / "a.jsonl", *(alpaca(instruction=f"Add {n}.") for n in range(9)))
    found = gather(data, DataConfig())
    found.check_unchanged(data.path)
    write(tmp_path / "a.jsonl", alpaca())
    with pytest.raises(InputError, match="changed while it was read"):
        found.check_unchanged(data.path)


def test_real_data_is_read(data_folder: Path) -> None:
    alpaca_5k = judge(InstructionDataConfig(path=str(data_folder / "alpaca-5k" / "alpaca-5k.jsonl.gz")))
    assert (alpaca_5k.rows, alpaca_5k.reasons) == (5_000, {"empty-answer": 1})
    assert alpaca_5k.rejected[0].detail == 'alpaca-5k.jsonl.gz, line 1470: "output" is empty'
    book = judge(InstructionDataConfig(path=str(data_folder / "instruction-1100" / "instruction-data.json")))
    assert (book.rows, len(book.kept), book.columns_found) == (900, 900, "Alpaca (instruction, input, output)")
