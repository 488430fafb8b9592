"""How much of what was planted is found: the table of docs/cleaning.md, and the bars under it."""

import json
import math
from pathlib import Path

import pytest

from llm.data.cleaning.config import CleaningConfig
from llm.data.cleaning.language import main_language
from llm.data.cleaning.measured import measure, table
from llm.data.cleaning.pipeline import Cleaner

DUPLICATES = ("exact-duplicate", "near-duplicate")  # found over all documents, not in one


def test_what_was_planted_is_found_and_clean_documents_are_kept(data_folder: Path) -> None:
    folder = data_folder / "messy-synthetic"
    labels = json.loads((folder / "documents.labels.json").read_text())
    documents = {row["id"]: row["text"] for row in map(json.loads, (folder / "documents.jsonl").read_text().splitlines())}
    cleaner = Cleaner(CleaningConfig(), main_language=main_language(documents.values()))
    said = {}
    for document, text in documents.items():
        cleaned = cleaner.clean(text)
        said[document] = {finding.kind for finding in cleaned.findings} | ({cleaned.reason} if cleaned.reason else set())
    rows = measure(labels, said, leave_out=DUPLICATES)
    for row in rows:
        assert row.recall >= (0.98 if row.fault == "clean" else 0.9 if row.fault == "other-language" else 0.95), row
        assert row.precision >= 0.95, row
    clean_but_repeated = [document for document, label in labels.items() if label in DUPLICATES and said[document]]
    assert clean_but_repeated == []
    page = Path(__file__).parents[4] / "docs" / "cleaning.md"
    assert all(line in page.read_text() for line in table(rows).splitlines()[2:])


@pytest.mark.parametrize(
    ("said", "recall", "precision"),
    [
        ({"a": ["html"], "b": ["html"]}, 1.0, 1.0),
        ({"a": ["html"]}, 0.5, 1.0),
        ({"a": ["html"], "b": ["html"], "c": ["html"], "d": ["html"]}, 1.0, 0.5),
        ({}, 0.0, math.nan),
    ],
)
def test_recall_is_of_what_was_planted_and_precision_of_what_was_said(
    said: dict[str, list[str]], recall: float, precision: float
) -> None:
    rows = measure({"a": "html", "b": "html", "c": "clean", "d": "pii:ip"}, said)
    html = next(row for row in rows if row.fault == "html")
    assert (html.recall, html.precision) == pytest.approx((recall, precision), nan_ok=True)
    clean = next(row for row in rows if row.fault == "clean")
    assert clean.found == ("c" not in said)


def test_faults_that_look_alike_are_not_counted_against_each_other() -> None:
    labels = {"a": "whitespace-only", "b": "empty", "c": "near-duplicate", "d": "exact-duplicate", "e": "boilerplate"}
    said = {"a": ["empty"], "b": ["empty"], "c": ["exact-duplicate"], "d": ["exact-duplicate"], "e": ["too-short"]}
    rows = {row.fault: row for row in measure(labels, said)}
    assert {fault: row.recall for fault, row in rows.items()} == {
        "whitespace-only": 1,
        "empty": 1,
        "near-duplicate": 0,
        "exact-duplicate": 1,
        "boilerplate": 0,
    }
    assert rows["exact-duplicate"].precision == rows["empty"].precision == 1
