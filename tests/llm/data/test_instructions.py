"""Instructions are there once, split by question, and those about the library are never answered by what pretraining has read."""

import json
from collections import Counter
from pathlib import Path

import pytest

from infra.store.folder import FolderStore
from infra.store.manifest import publish
from llm.data.config import PYTHON_STDLIB, DataConfig
from llm.data.documents import Document
from llm.data.instruction_config import InstructionDataConfig
from llm.data.instruction_sources import gather, inspect_instructions
from llm.data.instructions import ask, read_instructions, split_by_question, write_instructions
from llm.data.kinds.gather import Read, sorted_out
from llm.data.kinds.instruction import INSTRUCTION
from llm.data.labelled import stdlib_documents
from llm.data.rows import Row
from llm.data.splitting import split_documents
from llm.data.stdlib_questions import ask_about, first_sentences, questions

CORPUS = DataConfig()


def test_a_question_with_its_answer_is_there_once_and_with_another_answer_again() -> None:
    rows = [ask("1", "What is it?", "A ship."), ask("2", "what  is it? ", "a ship."), ask("3", "What is it?", "A boat.")]
    found = sorted_out(INSTRUCTION, [Read(Row(row.id, "a", 1, {}), row) for row in rows])
    assert [row.id for row in found.kept] == ["1", "3"]
    assert [(each.id, each.reason) for each in found.rejected] == [("2", "exact-duplicate")]


def test_all_answers_to_a_question_are_in_one_split_wherever_they_stand() -> None:
    rows = [ask(str(i), f"What is {i % 400}?", f"It is {i}.") for i in range(1200)]
    splits = split_by_question(rows, validation_share=0.1, test_share=0.2)
    for number in range(400):
        assert len({splits[number], splits[number + 400], splits[number + 800]}) == 1
    assert Counter(splits) == {"train": 840, "validation": 120, "test": 240}
    assert split_by_question(rows[::-1], validation_share=0.1, test_share=0.2) == splits[::-1]


def test_the_dataset_comes_back_with_its_counts(store: FolderStore, tmp_path: Path) -> None:
    rows = [ask("a:1", "Käse?", " Ja. 😀"), ask("a:2", "b", "c", system="d"), ask("a:3", "e", "f")]
    facts = write_instructions(rows, ("train", "test", "validation"), tmp_path / "a")
    assert facts == {"rows": 3, "splits": {"train": 1, "validation": 1, "test": 1}}
    dataset = publish(store, "datasets/a/1", tmp_path / "a", facts)
    assert read_instructions(dataset, "train") == [rows[0]]
    assert read_instructions(dataset, "test") == [rows[1]]
    assert [message["role"] for message in read_instructions(dataset, "test")[0].messages] == ["system", "user", "assistant"]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Remove any common\nleading whitespace from every line.\n\nM.", "Remove any common leading whitespace from every line."),
        ("foo(x, y=(1, 2)) -> z\n\nReturn the sum of all the numbers x and y", "Return the sum of all the numbers x and y."),
        ("get() -> return the value that stands in this very place", "Return the value that stands in this very place."),
        ("Say hello.\n\nThis one says it to all who are listening.", "Say hello. This one says it to all who are listening."),
        ("A title\n====\n\nThis module does a lot of things for many.", "This module does a lot of things for many."),
        ("This does one thing for all who ask. Options are:\n\n- a\n- b", "This does one thing for all who ask."),
        ("Too short to answer anything.", ""),
        (">>> print(1)\n1\n\nThis is an example of something that is printed.", ""),
        ("a = {1: 2, 3: 4}; b = [5, 6, 7]; c = (8, 9); d = e + f * (g - h) / 2", ""),
        ("word " * 200, ""),
    ],
)  # fmt: skip
def test_the_beginning_of_a_docstring_is_prose_in_whole_sentences(text: str, answer: str) -> None:
    assert first_sentences(text) == answer


def test_a_question_is_one_that_somebody_would_ask() -> None:
    says = "This does one thing for everybody who asks for it."
    given = {
        "textwrap.dedent": "textwrap",
        "collections.OrderedDict": "collections",
        "json": "json",
        "a.b#2": "a",
        "assert": "pydoc_data.topics",
    }
    asked = list(questions(Document(name, name, module, says) for name, module in given.items()))
    assert [each.document.id for each in asked] == ["textwrap.dedent", "collections.OrderedDict", "json"]
    assert all(f"`{each.document.id}`" in each.question for each in asked)
    assert "module" in asked[2].question or asked[2].question == "What is `json`?"
    phrasings = {
        each.question.replace(each.document.id, "")
        for each in questions(Document(f"a.f{i}", f"a.f{i}", "a", says) for i in range(50))
    }
    assert phrasings == {"What does `` do?", "What is `` for?", "Explain ``."}


@pytest.mark.slow
def test_held_out_answers_are_those_that_pretraining_never_saw() -> None:
    documents = stdlib_documents(CORPUS)
    shares = {"validation_share": CORPUS.validation_share, "test_share": CORPUS.test_share}
    splits = split_documents(documents, **shares).splits
    split_of = {document.parent: split for document, split in zip(documents, splits, strict=True)}
    found = gather(InstructionDataConfig(path=PYTHON_STDLIB), CORPUS)
    assert all(split_of[row.id] == split for row, split in zip(found.rows.kept, found.splits, strict=True))
    learnt = " ".join(" ".join(d.text.split()) for d, split in zip(documents, splits, strict=True) if split == "train").casefold()
    tested = [row for row, split in zip(found.rows.kept, found.splits, strict=True) if split == "test"]
    assert 150 < len(tested) < 500
    assert not [row.id for row in tested if row.answer.rstrip(".").casefold() in learnt]
    answers = [" ".join(row.answer.split()).casefold() for row in found.rows.kept]
    assert len(set(answers)) == len(answers)
    assert all(len(row.answer.split()) >= 8 and len(row.answer.encode()) <= 321 for row in found.rows.kept)
    assert inspect_instructions(InstructionDataConfig(path=PYTHON_STDLIB)).licence == "PSF-2.0"


def test_a_held_out_answer_that_stands_in_a_training_document_is_left_out() -> None:
    says = [f"This is the one thing number {i} that it does for everybody." for i in range(3)]
    documents = [
        Document(f"a.f{i}", f"a.f{i}", "a", text)
        for i, text in enumerate([*says, f"Another one.\n\n{says[2]} And more of it follows."])
    ]
    found = ask_about(documents, ("train", "test", "test", "train"))
    assert [row.id for row in found.rows] == ["a.f0", "a.f1", "a.f3"]
    assert ([each.document.id for each in found.seen], found.repeated) == (["a.f2"], [])


def test_what_is_left_out_is_counted_in_the_profile_and_shown(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    rows = [{"instruction": f"What is {i % 40}?", "output": f"It is {i % 40}."} for i in range(48)]
    path.write_text("\n".join(map(json.dumps, [*rows, {"instruction": "a", "output": ""}, {"instruction": "", "output": "a"}])))
    found = gather(InstructionDataConfig(path=str(path), on_invalid="drop"), CORPUS).rows
    expected = {
        "rows": 40,
        "invalid_share": 2 / 50,
        "empty_answer_share": 1 / 50,
        "duplicate_share": 8 / 50,
        "rejected_share": 10 / 50,
        "mean_answer_bytes": 8.75,
        "longest_answer_bytes": 9,
    }
    assert {name: found.numbers()[name] for name in expected} == pytest.approx(expected)
    assert found.reasons == {"empty-answer": 1, "empty-question": 1, "exact-duplicate": 8}
    sample = found.sample()
    shown = list(zip(sample["kept_for"], sample["id"], sample["preview"], strict=True))
    assert ("empty_answer_share", "mine.jsonl:49", 'mine.jsonl, line 49: "output" is empty') in shown
    assert ("invalid_share", "mine.jsonl:50", 'mine.jsonl, line 50: "instruction" is empty') in shown
