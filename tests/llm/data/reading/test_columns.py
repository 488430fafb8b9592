"""Columns: what is asked for is taken or named as missing with the nearest; what is found is said."""

from typing import Any

import pytest

from infra.store.errors import InputError
from llm.data.reading.columns import instruction_columns, label_column, preference_columns, text_column
from llm.data.rows import Row


def rows(*fields: dict[str, Any]) -> list[Row]:
    return [Row(f"a:{number}", "a.jsonl", number, each) for number, each in enumerate(fields, start=1)]


@pytest.mark.parametrize(
    ("fields", "name", "how"),
    [
        ({"title": "a", "text": "b", "content": "c"}, "text", 'the text is in "text", by its name'),
        ({"title": "a long title", "Content": "c"}, "Content", 'the text is in "Content", by its name'),
        ({"id": "a7", "line": "some words", "n": 3}, "line", 'the text is in "line", the only column of strings'),
        ({"a": "short", "b": "rather long", "text": 3}, "b", 'the text is in "b", where the longest strings are'),
        ({"id": "only an id"}, "id", 'the text is in "id", the only column of strings'),
    ],
)
def test_the_text_is_found_and_how_is_said(fields: dict[str, Any], name: str, how: str) -> None:
    found = text_column(rows(fields, fields))
    assert (found.name, found.found) == (name, how)


def test_a_text_column_that_is_asked_for_is_taken() -> None:
    assert text_column(rows({"text": "a", "b": "c"}, {"other": "d"}), "b").name == "b"
    assert text_column(rows({"text": "a"}, {"other": "d"}), "other").found == 'the text is in "other", as asked'


def test_a_column_that_is_not_there_is_named_with_those_that_are_and_the_nearest() -> None:
    with pytest.raises(
        InputError, match='a.jsonl: no column "txt"; its columns are "text", "n"\nDid you mean text\\? Set data.text_column'
    ):
        text_column(rows({"text": "a", "n": 1}), "txt")
    with pytest.raises(
        InputError, match='no column was found for the text; its columns are "n"\nSet data.text_column to one of them'
    ):
        text_column(rows({"n": 1}))
    with pytest.raises(InputError, match='no column "labl"; its columns are "text", "label"\nDid you mean label'):
        label_column(rows({"text": "a", "label": "b"}), "text", "labl")


def test_the_label_is_found_by_name_or_by_its_few_values() -> None:
    assert label_column(rows({"text": "a", "Category": 1}), "text").name == "Category"
    many = [{"text": str(n), "key": str(n), "kind": "even" if n % 2 else "odd"} for n in range(10)]
    found = label_column(rows(*many), "text")
    assert (found.name, found.found) == ("kind", 'the label is in "kind", which has 2 different values')
    with pytest.raises(InputError, match="no column was found for the label"):
        label_column(rows(*({"text": str(n), "key": str(n)} for n in range(10))), "text")


@pytest.mark.parametrize(
    ("fields", "form", "names"),
    [
        ({"messages": [{"role": "user", "content": "a"}]}, "messages", {"messages": "messages"}),
        ({"conversation": [{"role": "user", "content": "a"}]}, "messages", {"messages": "conversation"}),
        ({"conversations": [{"from": "human", "value": "a"}]}, "sharegpt", {"messages": "conversations"}),
        ({"conversations": [{"role": "user", "content": "a"}]}, "messages", {"messages": "conversations"}),
        (
            {"instruction": "a", "input": "", "output": "b"},
            "alpaca",
            {"instruction": "instruction", "output": "output", "input": "input"},
        ),
        ({"prompt": "a", "completion": "b"}, "alpaca", {"instruction": "prompt", "output": "completion"}),
        (
            {"question": "a", "answer": "b", "system": "c"},
            "alpaca",
            {"instruction": "question", "output": "answer", "system": "system"},
        ),
    ],
)
def test_the_form_of_instructions_is_found(fields: dict[str, Any], form: str, names: dict[str, str]) -> None:
    found = instruction_columns(rows(fields))
    assert (found.form, found.names) == (form, names)
    assert all(f'"{name}"' in found.found for name in names.values())


def test_columns_of_instructions_that_are_asked_for_are_taken() -> None:
    fields = {"q": "a", "a": "b", "messages": [{"role": "user", "content": "c"}], "chat": [{"from": "human", "value": "d"}]}
    assert instruction_columns(rows(fields), {"instruction": "q", "output": "a"}).names == {"instruction": "q", "output": "a"}
    assert instruction_columns(rows(fields), {"messages": "chat"}).form == "sharegpt"
    with pytest.raises(InputError, match=r'no column "p".*\n.*instruct.data.instruction_column'):
        instruction_columns(rows(fields), {"instruction": "p"})
    with pytest.raises(InputError, match="no column was found for the instruction and answer"):
        instruction_columns(rows({"text": "a"}))


def test_the_columns_of_preferences_are_found_with_or_without_a_prompt() -> None:
    assert preference_columns(rows({"chosen": "a", "rejected": "b"})).names == {"chosen": "chosen", "rejected": "rejected"}
    with_prompt = preference_columns(rows({"instruction": "a", "input": "", "chosen": "b", "rejected": "c", "output": "d"}))
    assert with_prompt.names == {"chosen": "chosen", "rejected": "rejected", "prompt": "instruction", "input": "input"}
    with pytest.raises(InputError, match="no column was found for the chosen and rejected"):
        preference_columns(rows({"chosen": "a"}))
