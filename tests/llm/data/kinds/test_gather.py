"""Cleaning mends examples and takes nothing away from them; each is there once; every row is accounted for, whatever is in it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm.data.cleaning.config import CleaningConfig
from llm.data.cleaning.contamination import NgramIndex
from llm.data.cleaning.pipeline import Cleaner
from llm.data.instructions import Instruction
from llm.data.kinds.classification import CLASSIFICATION, Labelled, labelled_of
from llm.data.kinds.gather import gather, suited
from llm.data.kinds.instruction import INSTRUCTION, instructions_of
from llm.data.kinds.preference import PREFERENCE, preferences_of
from llm.data.kinds.reader import Reader
from llm.data.kinds.result import Rows
from llm.data.kinds.written import write_findings, write_rejected
from llm.data.rows import Finding, Rejected, Row

QUESTION = "Which of the following rivers flows through the northern part of the largest desert on that continent?"


def given_rows(*fields: dict[str, Any], source: str = "a.jsonl") -> list[Row]:
    return [Row(f"{source}:{number}", source, number, each) for number, each in enumerate(fields, start=1)]


def instructions(*fields: dict[str, Any], config: CleaningConfig | None = None, **given: Any) -> Rows[Instruction]:
    rows = given_rows(*fields)
    cleaner = Cleaner(suited(config or CleaningConfig(duplicates="exact")), **given)
    return gather(INSTRUCTION, rows, instructions_of(rows), cleaner)


def labelled(*fields: dict[str, Any], config: CleaningConfig) -> Rows[Labelled]:
    rows = given_rows(*fields)
    return gather(CLASSIFICATION, rows, labelled_of(rows, section="classify.data", text="", label=""), Cleaner(suited(config)))


def test_texts_are_mended_and_what_was_found_is_placed_in_its_field() -> None:
    found = instructions(
        {"instruction": "Write to \u200banna@example.com.", "input": "It’s", "output": "Done: <b>sent</b>.\r\n<|im_end|>"},
        {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "bob@example.org"}]},
    )
    assert [message["content"] for message in found.kept[0].messages] == [
        "Write to anna@example.com.\n\nIt’s",
        "Done: <b>sent</b>.\n<|im_end|>",
    ]
    places = [(each.id, each.finding.kind, each.finding.start, each.finding.end, each.field) for each in found.findings]
    assert ("a.jsonl:1", "zero-width", 9, 10, "instruction") in places
    assert ("a.jsonl:1", "pii:email", 10, 26, "instruction") in places
    assert ("a.jsonl:1", "special-token", 20, 30, "output") in places
    assert ("a.jsonl:2", "pii:email", 0, 15, "messages.1.content") in places
    numbers = found.numbers()
    assert (numbers["special_token_share"], numbers["pii_share"], numbers["rejected_share"]) == (0.5, 1.0, 0.0)


def test_personal_data_is_replaced_where_that_is_asked_for() -> None:
    found = instructions({"instruction": "Who?", "output": "anna@example.com"}, config=CleaningConfig(pii="replace"))
    assert found.kept[0].answer == "<EMAIL>"
    assert [each.finding for each in found.findings] == [Finding("pii:email", 0, 16)]
    assert found.numbers()["pii_share"] == 0


@pytest.mark.parametrize("text", ["Yes.", "4", "日本", "WIN!!! £££ ### $$$", "<p>404 Not Found</p>", "na na na na na na na na"])
def test_short_odd_and_foreign_texts_stay_for_that_is_what_classes_are_known_by(text: str) -> None:
    found = labelled({"text": text, "label": "x"}, {"text": "something else", "label": "y"}, config=CleaningConfig(pii="replace"))
    assert [row.text for row in found.kept] == [text, "something else"]


def test_what_is_tested_on_is_turned_away_wherever_in_a_row_it_stands() -> None:
    found = instructions(
        {"instruction": QUESTION, "output": "The Nile."},
        {"instruction": "Repeat.", "output": f"You asked:\n{QUESTION.upper()}"},
        {"instruction": "Which river is it?", "output": "The Nile."},
        config=CleaningConfig(evaluation_sets=("mmlu",)),
        contamination=NgramIndex.build([QUESTION]),
    )
    assert [row.question for row in found.kept] == ["Which river is it?"]
    assert found.reasons == {"contamination": 2}
    assert ['"instruction"' in found.rejected[0].detail, '"output"' in found.rejected[1].detail] == [True, True]
    assert found.numbers()["contamination_share"] == pytest.approx(2 / 3)


SENTENCE = "the ship leaves the harbour at dawn with rope and sail and a map of the sea number"


def test_near_repetitions_are_counted_and_left_out_only_where_that_is_asked_for() -> None:
    rows = [{"text": f"{SENTENCE} {n} and so they all go on for a long while", "label": "x"} for n in (1, 2)]
    rows += [{"text": "quite another text about rain and wind over the land", "label": "y"}]
    counted = labelled(*rows, config=CleaningConfig(duplicates="exact"))
    assert (len(counted.kept), counted.near) == (3, (("a.jsonl:2", "a.jsonl:1"),))
    assert counted.numbers()["near_duplicate_share"] == pytest.approx(1 / 3)
    without = labelled(*rows, config=CleaningConfig(duplicates="near"))
    assert [row.id for row in without.kept] == ["a.jsonl:1", "a.jsonl:3"]
    assert [(each.id, each.reason, each.detail) for each in without.rejected] == [
        ("a.jsonl:2", "near-duplicate", "a.jsonl, line 2: is like a.jsonl:1")
    ]
    assert without.numbers()["near_duplicate_share"] == pytest.approx(1 / 3)


def test_a_text_with_two_labels_teaches_nothing_and_one_that_comes_again_nothing_more() -> None:
    texts = [("Same  text", "x"), ("same\ntext ", "x"), (" \n", "x"), ("Torn", "x"), ("torn", "y"), ("Alone", "y")]
    found = labelled(*({"text": text, "label": label} for text, label in texts), config=CleaningConfig(duplicates="exact"))
    assert [row.id for row in found.kept] == ["a.jsonl:1", "a.jsonl:6"]
    assert {each.id: each.reason for each in found.rejected} == {
        "a.jsonl:2": "exact-duplicate",
        "a.jsonl:3": "empty",
        "a.jsonl:4": "label-conflict",
        "a.jsonl:5": "label-conflict",
    }
    numbers = found.numbers()
    expected = {"rows": 2, "labels": 2, "label_rows": 1, "empty_share": 1 / 6, "duplicate_share": 1 / 6, "conflict_share": 2 / 6}
    assert {name: numbers[name] for name in expected} == pytest.approx(expected)
    sample = found.sample()
    shown = set(zip(sample["kept_for"], sample["id"], strict=True))
    assert {("empty_share", "a.jsonl:3"), ("conflict_share", "a.jsonl:4"), ("label_rows", "a.jsonl:1")} <= shown


def test_what_was_left_out_and_found_is_written_for_whoever_asks(tmp_path: Path) -> None:
    found = instructions({"instruction": "Who?", "output": "anna@example.com"}, {"instruction": "", "output": "a \ud83d"})
    rejected = pq.read_table(write_rejected(found.rejected, tmp_path)).to_pylist()
    assert rejected == [
        {
            "id": "a.jsonl:2",
            "source": "a.jsonl",
            "row": 2,
            "reason": "empty-question",
            "detail": 'a.jsonl, line 2: "instruction" is empty',
            "text": '{"instruction": "", "output": "a \\ud83d"}',
        }
    ]
    findings = pq.read_table(write_findings(found.findings, tmp_path)).to_pylist()
    assert findings == [{"id": "a.jsonl:1", "kind": "pii:email", "start": 0, "end": 16, "field": "output"}]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "from", "value"]), inner),
    max_leaves=6,
)
TURN = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool"]), "content": st.sampled_from(["", "Hi", "Human: a", None])}
)
VALUE = JSON | st.lists(TURN, max_size=4) | st.sampled_from(["\n\nHuman: a\n\nAssistant: b", "a", "b", " "])
KEYS = ("text", "label", "instruction", "input", "output", "system", "messages", "conversations", "prompt", "chosen", "rejected")
FIELDS = st.dictionaries(st.sampled_from(KEYS), VALUE, max_size=6)
READERS: list[tuple[Any, Callable[[], Reader[Any]]]] = [
    (CLASSIFICATION, lambda: labelled_of([], section="classify.data", text="", label="")),
    (INSTRUCTION, lambda: instructions_of([])),
    (PREFERENCE, lambda: preferences_of([])),
]


@pytest.mark.parametrize(("of", "reader"), READERS)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(fields=st.lists(FIELDS, max_size=4))
def test_whatever_is_in_a_row_it_is_kept_or_rejected_and_never_lost(
    of: Any, reader: Callable[[], Reader[Any]], fields: list[dict[str, Any]]
) -> None:
    rows: list[Row | Rejected] = [*given_rows(*fields), Rejected("b:1", "b", 1, "not-json", "b, line 1: broken", "{")]
    for cleaner in (None, Cleaner(suited(CleaningConfig()))):
        found = gather(of, rows, reader(), cleaner)
        assert found.rows == len(rows) == len(found.kept) + len(found.rejected)
        assert sorted([*(each.id for each in found.kept), *(each.id for each in found.rejected)]) == sorted(
            each.id for each in rows
        )
        assert all(each.reason and each.detail for each in found.rejected)
        assert found.numbers()["rejected_share"] == pytest.approx(len(found.rejected) / len(rows))


def test_broken_lines_and_ragged_records_are_turned_away_for_what_they_are(data_folder: Path) -> None:
    from llm.data.config import ClassificationData
    from llm.data.instruction_config import InstructionDataConfig
    from llm.data.instruction_sources import judge as judge_instructions
    from llm.data.labelled import judge as judge_labelled

    folder = data_folder / "messy-synthetic"
    planted = {each["file"]: each for each in json.loads((folder / "manifest.json").read_text())}
    broken = judge_instructions(InstructionDataConfig(path=str(folder / "broken.jsonl")))
    reasons = {each.row: each.reason for each in broken.rejected}
    right = {"ok": "", "array": "not-an-object", "missing": "missing-column", "wrongtype": "not-text"}
    lines = [(number, kind) for number, kind in enumerate(planted["broken.jsonl"]["line_kinds"], start=1) if kind != "blank"]
    assert [reasons.get(number, "") for number, _ in lines] == [right.get(kind, "not-json") for _, kind in lines]
    assert (broken.rows, len(broken.kept)) == (59, 11)
    ragged = judge_labelled(ClassificationData(path=str(folder / "ragged.csv")))
    assert (ragged.rows, ragged.reasons) == (60, {"bad-quotes": 4, "no-label": 1, "wrong-columns": 21})
    padded = [row for row in ragged.kept if row.id == "ragged.csv:8"]
    assert [(row.label, row.text[:8]) for row in padded] == [("spam", "MARCIUS:")]
    assert {row.label for row in ragged.kept} == {"spam", "ham", "HAM", "Spam", "unknown"}
