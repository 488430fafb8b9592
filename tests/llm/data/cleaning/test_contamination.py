"""A leaked question is found however it is wrapped, and everyday phrases are no questions."""

import csv
import gzip
import json
import pickle
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.data.cleaning.contamination import NgramIndex, Overlap, question_texts
from llm.data.cleaning.injection import inject, injection_recall
from llm.data.cleaning.split import Split, Vocabulary

LONG = (
    "A certain pipelined RISC machine has eight general-purpose registers and supports which of the following operations on them?"
)
SHORT = "Which planet has the Great Red Spot?"


def split(text: str) -> Split:
    return Split(text, Vocabulary())


@pytest.fixture(scope="module")
def index() -> NgramIndex:
    return NgramIndex.build({"architecture": [LONG], "astronomy": [SHORT]})


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (LONG, "architecture"),
        (LONG.replace(" ", "\n"), "architecture"),
        ("> " + LONG.upper().replace("has ", "has\n> "), "architecture"),
        (" ".join(LONG.split()[2:16]), "architecture"),
        (f"Q: **{SHORT}** A: Jupiter", "astronomy"),
        ("which planet\n   has the great\n   red spot", "astronomy"),
    ],
)
def test_a_leaked_question_is_found_however_it_is_wrapped(index: NgramIndex, text: str, name: str) -> None:
    document = f"Some words before.\n\n{text}\n\nAnd some behind it."
    found = index.overlap(split(document))
    assert found is not None
    assert found.evaluation_set == name
    assert "".join(filter(str.isalnum, document.split()[found.start])) in text.replace(">", "") + "Q"


@pytest.mark.parametrize("text", ["Which planet has the Great Red Dot?", " ".join(LONG.split()[:12]), "What is the answer?", ""])
def test_less_than_a_question_is_none(index: NgramIndex, text: str) -> None:
    assert index.overlap(split(text)) is None


@pytest.mark.parametrize(
    "text", ["Which of the following is true?", "What is it?", "None of the above", "True or false?", "1 2 3 4 5 6"]
)
def test_what_anybody_says_is_not_looked_for(text: str) -> None:
    assert len(NgramIndex.build([text])) == 0


def test_it_is_the_same_after_a_journey(index: NgramIndex, tmp_path: Path) -> None:
    index.save(tmp_path / "index.npz")
    for other in (NgramIndex.load(tmp_path / "index.npz"), pickle.loads(pickle.dumps(index))):
        assert len(other) == len(index)
        assert other.names == index.names
        assert other.overlap(split(f"x {SHORT}")) == index.overlap(split(f"x {SHORT}"))


def test_a_row_gives_its_question_alone_and_with_its_choices() -> None:
    assert question_texts({"question": "Why?", "choices": ["because", "so"], "answer": 1}) == ["Why?", "Why? because so"]
    assert question_texts({"question": "Why?", "choices": {"text": ["because"], "label": ["A"]}}) == ["Why?", "Why? because"]
    assert question_texts({"question": "Why?", "A": "because", "B": "so"}) == ["Why?", "Why? because so"]
    assert question_texts({"instruction": "Say it.", "input": "", "output": "it"}) == ["Say it."]
    assert question_texts({"label": "spam"}) == []


@given(st.lists(st.sampled_from("red green blue gold pink".split()), min_size=13, max_size=80))
def test_only_words_that_are_there_in_a_row_are_found(words: list[str]) -> None:
    index = NgramIndex.build([" ".join(f"{word}{number}" for number, word in enumerate("one two three four five".split() * 4))])
    assert index.overlap(split(" ".join(words))) is None


def test_recall_by_injection(data_folder: Path) -> None:
    """What docs/cleaning.md says of it."""
    rows = [
        row[:5]
        for path in sorted((data_folder / "mmlu" / "test").glob("*.csv"))
        for row in csv.reader(path.read_text().splitlines(True))
    ]
    with gzip.open(data_folder / "alpaca-eval" / "model_outputs" / "text_davinci_003.jsonl.gz", "rt") as lines:
        instructions = [json.loads(line)["instruction"] for line in lines]
    text = (data_folder / "tinyshakespeare" / "input.txt").read_text()
    documents = [text[at : at + 3_000] for at in range(0, 300_000, 3_000)]
    mmlu = [each for row in rows for each in question_texts({"question": row[0], "choices": row[1:]})]
    index = NgramIndex.build({"mmlu": mmlu, "alpaca-eval": instructions})
    alone = injection_recall(index, [row[0] for row in rows], documents)
    whole = injection_recall(index, [" ".join(row) for row in rows], documents)
    asked = injection_recall(index, instructions, documents)
    assert (alone.injected, whole.injected, asked.injected) == (1479, 1479, 805)
    assert alone.recall >= 0.97
    assert whole.recall >= 0.99
    assert asked.recall >= 0.98
    assert alone.false_alarms == 0


def test_injection_changes_the_lines_and_not_the_words() -> None:
    draw = random.Random(1)
    for _ in range(20):
        letters = [each for each in inject(LONG, "one two three", draw) if each.isalpha()]
        assert sorted(letters) == sorted(each for each in f"{LONG} one two three" if each.isalpha())


def test_a_short_question_is_its_whole_and_not_its_beginning() -> None:
    index = NgramIndex.build({"one": ["Which planet has rings?"], "two": ["Which planet has rings and ten moons?"]})
    assert index.overlap(split("Which planet has rings and nine moons?")) == Overlap("one", 0, 4)
    both = index.overlap(split("Which planet has rings and ten moons?"))
    assert both is not None
    assert both.start == 0
    assert index.overlap(split("Which planet has moons, rings and ten")) is None


def test_an_index_of_nothing_finds_nothing() -> None:
    assert NgramIndex.build([]).overlap(split(LONG)) is None
    assert NgramIndex.build({}).overlap(split("")) is None
