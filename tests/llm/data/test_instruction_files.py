"""Instructions of a user's own are read as what they are, and a row that cannot be used is named with its key and its mend."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from infra.store.errors import InputError
from llm.data.instruction_files import find_instructions

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
ON_INVALID = "instruct.data.on_invalid"


def write(path: Path, *rows: Any) -> str:
    text = json.dumps(rows) if ".json" in path.suffixes else "\n".join(map(json.dumps, rows)) + "\n"
    path.write_bytes(gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else text.encode())
    return str(path)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "a.json.gz"])
def test_each_kind_is_found_out_whatever_file_it_is_in(tmp_path: Path, name: str) -> None:
    alpaca = {"instruction": "Add.", "input": " 1 and 2\r\n", "output": "3", "system": ""}
    found = find_instructions(write(tmp_path / name, alpaca, {**alpaca, "input": ""}))
    assert found.kind == "alpaca"
    assert [row.id for row in found.rows] == [f"{name}:1", f"{name}:2"]
    assert [row.question for row in found.rows] == ["Add.\n\n1 and 2", "Add."]
    assert found.summary == f"2 rows of Alpaca (instruction, input, output) in {name}"
    found = find_instructions(write(tmp_path / name, {"messages": CHAT}))
    assert (found.kind, found.rows[0].messages) == ("messages", tuple(CHAT))
    turns = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}, {"from": "human", "value": "?"}]
    found = find_instructions(write(tmp_path / name, {"conversations": [*turns, {"from": "gpt", "value": "!"}]}))
    assert (found.kind, found.rows[0].answer, found.rows[0].question) == ("sharegpt", "!", "?")
    assert [message["role"] for message in found.rows[0].messages] == ["user", "assistant", "user", "assistant"]


def alpaca(**other: Any) -> dict[str, Any]:
    return {"instruction": "Add 1 and 2.", "output": "3"} | other


def chat(*turns: tuple[Any, Any]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


SHAREGPT = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
GOOD = ("user", "a"), ("assistant", "b")


@pytest.mark.parametrize(
    ("good", "bad", "what"),
    [
        (alpaca(), alpaca(output=""), '"output" is empty. Every instruction example needs an answer to learn from.'),
        (alpaca(), alpaca(output=" \n"), '"output" is empty'),
        (alpaca(), alpaca(instruction=""), '"instruction" is empty'),
        (alpaca(), alpaca(output=None), '"output" is missing, not a string'),
        (alpaca(), alpaca(output=3), '"output" is a number, not a string'),
        (alpaca(), alpaca(input=["x"]), '"input" is a list, not a string'),
        (alpaca(), {"instruction": "a", "ouput": "b"}, 'no "output"; its keys are "instruction", "ouput"'),
        (alpaca(), ["a"], "a row is an object, this is a list"),
        (chat(*GOOD), chat(("user", "a"), ("assistant", "")), '"messages", message 2: "content" is empty'),
        (chat(*GOOD), chat(("user", "a")), '"messages" ends without an answer'),
        (chat(*GOOD), chat(*GOOD, ("assistant", "c")), "\"messages\", message 3 is the assistant's, here it is the user's turn"),
        (chat(*GOOD), chat(("assistant", "b")), "\"messages\", message 1 is the assistant's, here it is the user's turn"),
        (chat(*GOOD), chat(*GOOD, ("system", "c")), "\"messages\", message 3 is the system's, here it is the user's turn"),
        (chat(*GOOD), chat(("tool", "a"), *GOOD), '"messages", message 1: "role" is "tool"'),
        (chat(*GOOD), chat(("user", None), GOOD[1]), '"messages", message 1: "content" is missing, not a string'),
        (chat(*GOOD), {"messages": []}, '"messages" is empty'),
        (chat(*GOOD), {"messages": "a"}, '"messages" is "a", not a list of messages'),
        (chat(*GOOD), {"messages": ["a"]}, '"messages", message 1 is "a", not an object with role and content'),
        (SHAREGPT, {"conversations": [{"from": "bot", "value": "a"}]}, '"conversations", message 1: "from" is "bot"'),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_row_is_said_with_its_row_and_its_mend(tmp_path: Path, good: Any, bad: Any, what: str) -> None:
    found = find_instructions(write(tmp_path / "mine.jsonl", good, good, bad))
    assert len(found.rows) == 2
    with pytest.raises(InputError) as caught:
        found.check(ON_INVALID)
    assert caught.value.where == f"{tmp_path}/mine.jsonl, row 3"
    assert what in caught.value.what
    assert caught.value.mend == "Mend the row, or remove it, or pass --set instruct.data.on_invalid=drop to leave it out."


def test_the_mend_counts_the_rows_like_the_first_and_the_others(tmp_path: Path) -> None:
    rows = [alpaca(), *[alpaca(output="")] * 3, alpaca(instruction="")]
    with pytest.raises(InputError) as caught:
        find_instructions(write(tmp_path / "a.jsonl", *rows)).check(ON_INVALID)
    assert caught.value.where.endswith("a.jsonl, row 2")
    assert caught.value.mend.endswith("=drop to leave out the 3 rows like it (and the 1 wrong in another way).")


@pytest.mark.parametrize(
    ("name", "content", "where", "what"),
    [
        ("a.jsonl", b"", "a.jsonl", "empty: it holds no rows"),
        ("a.json", b"[]", "a.json", "empty: it holds no rows"),
        ("a.json", b'{"messages": []}', "a.json", "holds a list of rows, this is an object"),
        ("a.jsonl", b'{"instruction": "a", "output": "b"}\n\n{"instruction"', "a.jsonl, row 3", "not JSON"),
        ("a.jsonl", b'{"question": "a", "answer": "b"}', "a.jsonl", 'its keys are "question", "answer"'),
        ("a.jsonl", b"[1]\n[2]", "a.jsonl", "its rows are no objects"),
        ("a.jsonl", b'{"instruction": "a",\n "output": "K\xe4se"}', "a.jsonl, row 2", "not UTF-8"),
        ("a.jsonl.gz", gzip.compress(b"{}" * 999, mtime=0)[:-9], "a.jsonl.gz", "damaged"),
        ("a.csv", b"a,b", "a.csv", "not a kind of file"),
    ],
)
def test_a_file_that_is_none_is_named(tmp_path: Path, name: str, content: bytes, where: str, what: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        find_instructions(str(tmp_path / name))
    assert where in caught.value.where
    assert what in caught.value.what
    assert caught.value.mend


def test_a_key_that_is_nearly_one_and_a_file_that_is_nearly_there_are_guessed(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", {"instructions": "a", "outputs": "b"})
    with pytest.raises(InputError, match=r"Is it instructions for instruction\? outputs for output\?"):
        find_instructions(path)
    with pytest.raises(InputError, match=r"Did you mean mine\.jsonl\?"):
        find_instructions(str(tmp_path / "mini.jsonl"))


def test_half_a_surrogate_pair_does_not_get_into_the_dataset(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"instruction": "a \\ud83d b", "output": "c \\ud83d\\ude00"}')
    row = find_instructions(str(tmp_path / "a.jsonl")).rows[0]
    assert (row.question, row.answer) == ("a \ufffd b", "c 😀")


def test_the_version_is_that_of_the_content_wherever_it_lies(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.jsonl", alpaca()), write(tmp_path / "b.jsonl", alpaca())
    other = write(tmp_path / "c.jsonl", alpaca(output="4"))
    versions = [find_instructions(path).version for path in (first, second, other)]
    assert versions[0] == versions[1] != versions[2]


def test_real_data_is_read(data_folder: Path) -> None:
    alpaca_5k = find_instructions(str(data_folder / "alpaca-5k" / "alpaca-5k.jsonl.gz"))
    assert (alpaca_5k.kind, len(alpaca_5k.rows)) == ("alpaca", 4_999)
    assert [(wrong.row, wrong.what) for wrong in alpaca_5k.wrong] == [(1470, '"output" is empty')]
    book = find_instructions(str(data_folder / "instruction-1100" / "instruction-data.json"))
    assert (book.kind, len(book.rows), book.wrong) == ("alpaca", 900, [])
