"""Instructions are read as what they are, and a row that is none is named with its key and its reason."""

import json
from typing import Any

import pytest

from infra.store.errors import InputError
from llm.data.instructions import Instruction
from llm.data.kinds.draft import example_of
from llm.data.kinds.instruction import draft_instruction, instructions_of
from llm.data.rows import Rejected, Row

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]


def row(fields: dict[str, Any], number: int = 1) -> Row:
    return Row(f"a.jsonl:{number}", "a.jsonl", number, fields)


def alpaca(**other: Any) -> dict[str, Any]:
    return {"instruction": "Add 1 and 2.", "output": "3"} | other


def chat(*turns: tuple[Any, Any]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def read(fields: dict[str, Any], *before: dict[str, Any]) -> Instruction | Rejected:
    return example_of(row(fields), instructions_of([row(each) for each in before or (fields,)]).read)


def good(fields: dict[str, Any]) -> Instruction:
    found = read(fields)
    assert isinstance(found, Instruction), found
    return found


def test_alpaca_rows_ask_with_their_input_and_keep_their_system_message() -> None:
    assert good(alpaca(input=" 1 and 2\r\n", system="")).question == "Add 1 and 2.\n\n1 and 2"
    assert good(alpaca(input=None)).question == "Add 1 and 2."
    messages = good(alpaca(system="Be brief.")).messages
    assert [(each["role"], each["content"]) for each in messages] == [
        ("system", "Be brief."),
        ("user", "Add 1 and 2."),
        ("assistant", "3"),
    ]


def test_chats_and_sharegpt_are_read_turn_by_turn_also_from_a_format_without_lists() -> None:
    assert good({"messages": CHAT}).messages == tuple(CHAT)
    assert good({"messages": json.dumps(CHAT)}).messages == tuple(CHAT)
    turns = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}, {"from": "human", "value": "?"}]
    found = good({"conversations": [*turns, {"from": "gpt", "value": "!"}]})
    assert ([each["role"] for each in found.messages], found.answer, found.question) == (["user", "assistant"] * 2, "!", "?")


def test_a_row_of_another_form_among_them_is_read_by_its_own() -> None:
    mixed = read({"messages": CHAT, "instruction": None}, alpaca(), alpaca())
    assert isinstance(mixed, Instruction)
    assert draft_instruction(row({"messages": CHAT})).form == "chats (messages of role and content)"


SHAREGPT = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
FIRST, THIRD = '"messages", message 1', '"messages", message 3'
GOOD = ("user", "a"), ("assistant", "b")


@pytest.mark.parametrize(
    ("usual", "bad", "reason", "detail"),
    [
        (alpaca(), alpaca(output=""), "empty-answer", '"output" is empty'),
        (alpaca(), alpaca(output=" \n"), "empty-answer", '"output" is empty'),
        (alpaca(), alpaca(instruction=""), "empty-question", '"instruction" is empty'),
        (alpaca(), alpaca(output=None), "not-text", '"output" is missing, not a string'),
        (alpaca(), alpaca(output=3), "not-text", '"output" is a number, not a string'),
        (alpaca(), alpaca(input=["x"]), "not-text", '"input" is a list, not a string'),
        (alpaca(), {"instruction": "a", "ouput": "b"}, "missing-column", 'no "output"; its keys are "instruction", "ouput"'),
        (chat(*GOOD), chat(("user", "a"), ("assistant", "")), "empty-answer", '"messages", message 2: "content" is empty'),
        (chat(*GOOD), chat(("user", " "), ("assistant", "b")), "empty-question", '"messages", message 1: "content" is empty'),
        (chat(*GOOD), chat(("user", "a")), "wrong-turns", '"messages" ends without an answer'),
        (chat(*GOOD), chat(*GOOD, ("assistant", "c")), "wrong-turns", f"{THIRD} is the assistant's, here it is the user's turn"),
        (chat(*GOOD), chat(("assistant", "b")), "wrong-turns", f"{FIRST} is the assistant's, here it is the user's turn"),
        (chat(*GOOD), chat(*GOOD, ("system", "c")), "wrong-turns", f"{THIRD} is the system's, here it is the user's turn"),
        (chat(*GOOD), chat(("tool", "a"), *GOOD), "wrong-turns", f'{FIRST}: "role" is "tool", which is none of user'),
        (chat(*GOOD), chat(("user", None), GOOD[1]), "not-text", '"messages", message 1: "content" is missing, not a string'),
        (chat(*GOOD), {"messages": []}, "wrong-turns", '"messages" is empty'),
        (chat(*GOOD), {"messages": "a"}, "wrong-turns", '"messages" is "a", not a list of messages'),
        (chat(*GOOD), {"messages": "[{a"}, "wrong-turns", '"messages" is "[{a", not a list of messages'),
        (chat(*GOOD), {"messages": ["a"]}, "wrong-turns", '"messages", message 1 is "a", not an object with role and content'),
        (chat(*GOOD), {"id": 3}, "missing-column", '"messages" is missing, not a list of messages'),
        (SHAREGPT, {"conversations": [{"from": "bot", "value": "a"}]}, "wrong-turns", '"conversations", message 1: "from"'),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_row_is_said_with_its_key_and_grouped_by_reason(
    usual: dict[str, Any], bad: dict[str, Any], reason: str, detail: str
) -> None:
    found = read(bad, usual, usual)
    assert isinstance(found, Rejected)
    assert found.reason == reason
    assert found.detail.startswith(f"a.jsonl, line 1: {detail}")
    assert json.loads(found.text) == bad


def test_questions_and_answers_may_have_other_names_and_columns_that_are_neither_are_said() -> None:
    asked = read({"question": "What?", "answer": "A ship.", "system": "Be brief."})
    assert isinstance(asked, Instruction)
    assert [each["content"] for each in asked.messages] == ["Be brief.", "What?", "A ship."]
    assert draft_instruction(row(alpaca(input=""))).form == "Alpaca (instruction, input, output)"
    with pytest.raises(InputError, match='its columns are "title", "body"'):
        read({"title": "a", "body": "b"})
