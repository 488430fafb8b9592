"""Two answers to one prompt are read from every form in which people share them, and no pair teaches nothing or two things."""

import json
from pathlib import Path
from typing import Any

import pytest

from infra.store.errors import InputError
from infra.store.folder import FolderStore
from infra.store.manifest import publish
from llm.data.kinds.draft import example_of
from llm.data.kinds.gather import gather
from llm.data.kinds.preference import PREFERENCE, preferences_of
from llm.data.preferences import Preference, read_preferences, split_by_prompt, write_preferences
from llm.data.rows import Rejected, Row

HI = {"role": "user", "content": "Hi"}
WITH = "with a chosen and a rejected answer"
SHAREGPT = [{"from": "human", "value": "Hi"}]
DIFFER = '"chosen" and "rejected" differ before their last message'
ASKED = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Who are you?\n\nAssistant:"


def row(fields: dict[str, Any], number: int = 1) -> Row:
    return Row(f"a.jsonl:{number}", "a.jsonl", number, fields)


def said(content: str, role: str = "assistant") -> dict[str, str]:
    return {"role": role, "content": content}


def read(fields: dict[str, Any]) -> Preference | Rejected:
    return example_of(row(fields), preferences_of([row(fields)]).read)


@pytest.mark.parametrize(
    ("fields", "prompt", "form"),
    [
        ({"prompt": "Hi"}, ["Hi"], "a prompt (prompt) with a chosen and a rejected answer"),
        ({"question": "Hi", "system": "Be kind."}, ["Be kind.", "Hi"], f"a prompt (question, system) {WITH}"),
        ({"prompt": [HI]}, ["Hi"], "chats (prompt) with a chosen and a rejected answer"),
        ({}, [], "a chosen and a rejected answer, without a prompt"),
        ({"instruction": "Greet", "input": "me"}, ["Greet\n\nme"], f"a prompt (instruction, input) {WITH}"),
        ({"conversations": SHAREGPT}, ["Hi"], "chats (conversations) with a chosen and a rejected answer"),
    ],
)  # fmt: skip
def test_answers_as_texts_come_with_a_prompt_of_any_form_or_with_none(fields: dict[str, Any], prompt: list[str], form: str) -> None:
    fields = {**fields, "chosen": "Good day.\r\n", "rejected": "What?"}
    found = read(fields)
    assert isinstance(found, Preference), found
    assert [message["content"] for message in found.prompt] == prompt
    assert (found.chosen, found.rejected) == ("Good day.\n", "What?")
    draft = preferences_of([row(fields)]).read(row(fields))
    assert draft.form == form


@pytest.mark.parametrize(
    "fields",
    [
        {"chosen": [HI, said("Yes.")], "rejected": [HI, said("No.")]},
        {"prompt": "Hi", "chosen": [HI, said("Yes.")], "rejected": [HI, said("No.")]},
        {"prompt": "Hi", "chosen": [said("Yes.")], "rejected": [said("No.")]},
        {"prompt": [HI], "chosen": [said("Yes.")], "rejected": [said("No.")]},
        {"prompt": "Hi", "chosen": said("Yes."), "rejected": said("No.")},
        {"chosen": json.dumps([HI, said("Yes.")]), "rejected": json.dumps([HI, said("No.")])},
        {
            "conversations": [{"from": "human", "value": "Hi"}],
            "chosen": {"from": "gpt", "value": "Yes."},
            "rejected": {"from": "gpt", "value": "No."},
        },
    ],
)
def test_answers_as_chats_share_what_stands_before_the_last_message(fields: dict[str, Any]) -> None:
    assert read(fields) == Preference("a.jsonl:1", ({"role": "user", "content": "Hi"},), "Yes.", "No.")


def test_transcripts_are_cut_at_their_speakers() -> None:
    found = read({"chosen": f"{ASKED} A ship.", "rejected": f"{ASKED} I am\n\na boat."})
    assert isinstance(found, Preference), found
    assert [(each["role"], each["content"]) for each in found.prompt] == [
        ("user", "Hi"),
        ("assistant", "Hello."),
        ("user", "Who are you?"),
    ]
    assert (found.chosen, found.rejected) == ("A ship.", "I am\n\na boat.")
    assert read({"prompt": ASKED, "chosen": " A ship.", "rejected": "I am\n\na boat."}) == found


@pytest.mark.parametrize(
    ("fields", "reason", "detail"),
    [
        ({"prompt": "a", "chosen": "b", "rejected": " b\n"}, "same-answers", '"chosen" and "rejected" are the same: "b"'),
        ({"prompt": "a", "chosen": "", "rejected": "b"}, "empty-answer", '"chosen" is empty'),
        ({"prompt": "a", "chosen": "b", "rejected": " "}, "empty-answer", '"rejected" is empty'),
        ({"prompt": " ", "chosen": "b", "rejected": "c"}, "empty-question", '"prompt" is empty'),
        ({"prompt": "a", "chosen": 1, "rejected": "c"}, "not-text", '"chosen" is a number'),
        ({"prompt": "a", "chosen": None, "rejected": "c"}, "not-text", '"chosen" is missing, not a string'),
        ({"prompt": 1, "chosen": "b", "rejected": "c"}, "not-text", '"prompt" is a number'),
        ({"chosen": [HI, said("a")], "rejected": [said("Ho", "user"), said("b")]}, "wrong-turns", DIFFER),
        ({"chosen": [HI], "rejected": [HI]}, "wrong-turns", "\"chosen\", message 1 is the user's, where an answer"),
        ({"chosen": [HI, HI, said("a")], "rejected": [HI, HI, said("b")]}, "wrong-turns", "\"chosen\", message 2 is the user's"),
        ({"chosen": f"{ASKED} a", "rejected": f"{ASKED} b\n\nHuman: c"}, "wrong-turns", '"rejected" ends without an answer'),
        ({"chosen": f"{ASKED} a", "rejected": "\n\nHuman: x\n\nAssistant: b"}, "wrong-turns", DIFFER),
        ({"chosen": f"{ASKED} a", "rejected": ASKED}, "empty-answer", '"rejected" is empty'),
    ],
)  # fmt: skip
def test_a_pair_that_cannot_be_learnt_from_is_left_out_with_its_reason(fields: dict[str, Any], reason: str, detail: str) -> None:
    found = read(fields)
    assert isinstance(found, Rejected), found
    assert found.reason == reason
    assert found.detail.startswith(f"a.jsonl, line 1: {detail}")


def test_columns_are_found_or_named_and_those_that_are_not_there_are_said() -> None:
    other = {"query": "Hi", "preferred": "a", "loser": "b", "best": "c"}
    found = example_of(row(other), preferences_of([row(other)]).read)
    assert found == Preference("a.jsonl:1", ({"role": "user", "content": "Hi"},), "a", "b")
    named = example_of(row(other), preferences_of([row(other)], {"chosen": "best"}).read)
    assert isinstance(named, Preference)
    assert named.chosen == "c"
    with pytest.raises(InputError, match='no column "bst"; its columns are "query"') as caught:
        preferences_of([row(other)], {"chosen": "bst"})
    assert "Set prefer.data.chosen_column" in caught.value.mend
    with pytest.raises(InputError, match="no column was found for the chosen and rejected"):
        preferences_of([row({"prompt": "a", "chosen": "b"})])


def test_each_pair_is_there_once_and_one_that_is_chosen_both_ways_not_at_all() -> None:
    pairs = [("a", "b", "c"), ("a ", "B", "c"), ("d", "e", "f"), ("d", "f", "e"), ("a", "b", "d")]
    rows = [row({"prompt": p, "chosen": c, "rejected": r}, number) for number, (p, c, r) in enumerate(pairs, start=1)]
    found = gather(PREFERENCE, rows, preferences_of(rows))
    assert [each.id for each in found.kept] == ["a.jsonl:1", "a.jsonl:5"]
    assert [(each.id, each.reason, each.detail) for each in found.rejected] == [
        ("a.jsonl:2", "exact-duplicate", "a.jsonl, line 2: repeats a.jsonl:1"),
        ("a.jsonl:3", "label-conflict", "a.jsonl, line 3: a.jsonl:4 chooses the other answer"),
        ("a.jsonl:4", "label-conflict", "a.jsonl, line 4: a.jsonl:3 chooses the other answer"),
    ]


def test_the_dataset_comes_back_with_its_counts(store: FolderStore, tmp_path: Path) -> None:
    rows = [
        Preference("a:1", ({"role": "user", "content": "Käse?"},), "Ja. 😀", "Nein."),
        Preference("a:2", (), "b", "c"),
        Preference("a:3", ({"role": "system", "content": "d"}, {"role": "user", "content": "e"}), "f", "g"),
    ]
    facts = write_preferences(rows, ("train", "test", "validation"), tmp_path / "a")
    assert facts == {"rows": 3, "splits": {"train": 1, "validation": 1, "test": 1}}
    dataset = publish(store, "datasets/a/1", tmp_path / "a", facts)
    assert read_preferences(dataset, "train") == [rows[0]]
    assert read_preferences(dataset, "test") == [rows[1]]
    assert read_preferences(dataset, "validation") == [rows[2]]


def test_all_pairs_of_a_prompt_are_in_one_split() -> None:
    rows = [Preference(str(n), ({"role": "user", "content": f"What is {n % 300}?"},), f"It is {n}.", "No.") for n in range(900)]
    splits = split_by_prompt(rows, validation_share=0.1, test_share=0.2)
    assert [splits.count(split) for split in ("train", "validation", "test")] == [630, 90, 180]
    for number in range(300):
        assert len({splits[number], splits[number + 300], splits[number + 600]}) == 1
    alone = [Preference(str(n), (), f"It is {n}.", "No.") for n in range(100)]
    assert set(split_by_prompt(alone, validation_share=0.1, test_share=0.1)) == {"train", "validation", "test"}


def test_the_books_pairs_are_read_but_those_that_say_the_same_twice(data_folder: Path) -> None:
    given = json.loads((data_folder / "preference-1100" / "instruction-data-with-preference.json").read_text())
    rows = [row(fields, number) for number, fields in enumerate(given, start=1)]
    found = gather(PREFERENCE, rows, preferences_of(rows[:20]))
    assert found.columns_found == "a prompt (instruction, input) with a chosen and a rejected answer"
    assert found.reasons == {"same-answers": 6}
    assert (found.rows, len(found.kept)) == (900, 894)
