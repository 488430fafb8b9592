"""Validation: Great Expectations passes real text and stops what would teach a model nothing, with rows that show why."""

import base64
import json
import random
import socket
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from infra.store.errors import SlipwayError
from infra.validation import Report, excerpt, validate
from llm.data.config import PYTHON_STDLIB
from llm.data.documents import Document, cut_document
from llm.data.expectations import Expectations
from llm.data.profile import profile
from llm.data.reading.inspect import inspect
from llm.data.reading.rows import read
from llm.data.rows import Row

DEFAULTS = Expectations(max_empty_share=0.0)
CHANCE = random.Random(1)


def judged(given: list[Document], expectations: Expectations = DEFAULTS) -> Report:
    found = profile(given)
    return validate(found.numbers, found.sample(), asdict(expectations))


def rows(*texts: str) -> list[Document]:
    return [Document(f"f:{n}", f"f:{n}", "f", text) for n, text in enumerate(texts, start=1)]


def file(text: str) -> list[Document]:
    return list(cut_document("f:1", "f", [text], 8192))


def prose(n: int = 100) -> list[str]:
    words = Path(__file__).read_text().split()
    return [" ".join(CHANCE.choices(words, k=60)) for _ in range(n)]


def failures(report: Report) -> dict[str, list[str]]:
    return {row.expectation: row.examples for row in report.rows if not row.passed}


def test_text_of_some_length_passes_with_every_expectation_judged() -> None:
    report = judged(rows(*prose()))
    assert failures(report) == {}
    assert report.passed
    names = {name for name in asdict(DEFAULTS) if name.startswith(("min_", "max_"))}
    assert {row.name for row in report.rows} | {each.name for each in report.not_judged} == names
    documents = next(row for row in report.rows if row.name == "min_documents")
    assert (documents.expectation, documents.observed, documents.limit) == ("documents", 100, "at least 3")
    document = json.loads(json.dumps(report.document()))
    assert document["passed"] is True
    assert next(each for each in document["expectations"] if each["name"] == "min_documents") == {
        "name": "min_documents",
        "words": "documents",
        "suite": "invariants",
        "severity": "block",
        "observed": 100,
        "limit": 3,
        "asked": "at least 3",
        "success": True,
        "verdict": "passed",
        "waiver": None,
        "examples": [],
    }


RUBBISH: dict[str, tuple[Callable[[], list[Document]], set[str]]] = {
    "random base64": (
        lambda: file("\n".join(base64.b64encode(CHANCE.randbytes(57)).decode() for _ in range(2000))),
        {"size when compressed, to the text's"},
    ),
    "one line a thousand times": (lambda: file("the same line again and again\n" * 1000), {"size when compressed, to the text's"}),
    "one row a thousand times": (
        lambda: rows(*["the same row again and again"] * 1000),
        {"share of exact duplicates", "size when compressed, to the text's"},
    ),
    "digits": (
        lambda: file("\n".join(str(CHANCE.random()) for _ in range(2000))),
        {"share of letters", "share of sampled documents with letters enough"},
    ),
    "controls": (lambda: rows(*(text + "\x07\x1b" for text in prose())), {"share of control characters"}),
    "a wrong decoding": (lambda: rows(*(text.replace("e", "\ufffd", 5) for text in prose())), {"share of U+FFFD characters"}),
    "empty rows": (lambda: rows(*prose(), "", " \n"), {"share of empty documents"}),
    "half tables": (
        lambda: rows(*prose(30), *(f"{n} {n * n} {n**3}" for n in range(60))),
        {"share of sampled documents with letters enough"},
    ),
    "next to nothing": (
        lambda: rows("a word", "or two"),
        {"documents", "bytes of text", "bytes of a document, mean", "size when compressed, to the text's"},
    ),
    "nothing": (
        list,
        {
            "documents",
            "bytes of text",
            "bytes of a document, mean",
            "share of letters",
            "share of sampled documents with letters enough",
            "size when compressed, to the text's",
        },
    ),
}


@pytest.mark.parametrize("case", RUBBISH)
def test_rubbish_is_stopped_for_what_it_is(case: str) -> None:
    make, expected = RUBBISH[case]
    report = judged(make())
    assert not report.passed
    assert set(failures(report)) == expected
    assert case == "nothing" or all(1 <= len(examples) <= 3 for examples in failures(report).values())


def test_a_failed_expectation_shows_the_rows_that_break_it() -> None:
    texts = prose(50)
    report = judged(rows(*texts, "", texts[0], "ding \x07"), replace(DEFAULTS, max_duplicate_share=0.0, max_control_share=0.0))
    assert failures(report) == {
        "share of empty documents": ["f:51: "],
        "share of exact duplicates": [f"f:52: {excerpt(texts[0], 80)}"],
        "share of control characters": ["f:53: ding \\x07"],
    }


def test_an_expectation_on_nothing_that_was_counted_is_no_pass() -> None:
    found = profile(rows(*prose(5)))
    with pytest.raises(SlipwayError, match="max_spelling"):
        validate(found.numbers, found.sample(), {"max_spelling": 1})
    with pytest.raises(SlipwayError, match="could not judge"):
        validate({"documents": float("nan")}, {name: [] for name in found.sample()}, {"min_documents": 1})


def test_judging_tells_nobody(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError(f"a connection to {arguments[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert judged(rows(*prose())).passed
    assert capfd.readouterr() == ("", "")


def read_documents(path: str) -> list[Document]:
    """As they stand in a source, cut as a corpus is."""
    items = list(read(inspect(path)))
    given = [item for item in items if isinstance(item, Row)]
    return [passage for row in given for passage in cut_document(row.id, row.source, [row.fields["text"]], 8192)]


def test_what_every_python_carries_passes() -> None:
    assert failures(judged(read_documents(PYTHON_STDLIB))) == {}


REAL = [
    *(f"books/books-0000{n}-of-00005.jsonl.gz" for n in range(5)),
    "tinyshakespeare/input.txt",
    "the-verdict/the-verdict.txt",
]


@pytest.mark.parametrize("name", REAL)
def test_real_text_passes(name: str, data_folder: Path) -> None:
    assert failures(judged(read_documents(str(data_folder / name)))) == {}


def test_wikipedia_passes_and_rows_with_planted_faults_do_not(data_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "wiki.txt").symlink_to(data_folder / "wikitext2-raw-test/wiki.test.raw")
    assert failures(judged(read_documents(str(tmp_path / "wiki.txt")))) == {}
    messy = judged(read_documents(str(data_folder / "messy-synthetic/documents.jsonl")))
    assert "share of empty documents" in failures(messy)
