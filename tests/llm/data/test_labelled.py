"""Labelled texts are read as they are, and a row that cannot be used is named with its mend."""

import gzip
import json
from pathlib import Path

import pytest

from infra.store.errors import InputError
from llm.data.config import PYTHON_STDLIB, ClassificationData, DataConfig
from llm.data.kinds.classification import Labelled
from llm.data.labelled import by_part, inspect, read_rows, stdlib_documents
from llm.data.stdlib_parts import PARTS, part_of

CORPUS = DataConfig()


def write(path: Path, text: str) -> ClassificationData:
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return ClassificationData(path=str(path))


@pytest.mark.parametrize("name", ["mail.jsonl", "mail.jsonl.gz", "mail.csv", "mail.tsv", "mail.tsv.gz"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    rows = [("Hello, you\nwon", "spam"), ('He said "no"', "ham"), ("Käse 😀", "ham")]
    if ".jsonl" in name:
        text = "\n\n".join(json.dumps({"text": text, "label": label}) for text, label in rows)
        lines = [1, 3, 5]
    else:
        mark = "," if ".csv" in name else "\t"
        quoted = ['"' + text.replace('"', '""') + '"' + mark + label for text, label in rows]
        text, lines = "\n".join([f"text{mark}label", *quoted]), [3, 4, 5]
    data = write(tmp_path / name, text)
    expected = [Labelled(f"{name}:{line}", *row) for line, row in zip(lines, rows, strict=True)]
    assert list(read_rows(data)) == expected
    assert inspect(data, CORPUS).summary == f"3 rows of {name}"


def test_columns_have_the_names_that_the_recipe_says_and_numbers_are_labels(tmp_path: Path) -> None:
    path = tmp_path / "mail.jsonl"
    path.write_text('{"body": "a", "spam": 1}\n{"body": "b", "spam": false}\n')
    data = ClassificationData(path=str(path), text_column="body", label_column="spam")
    assert [(row.text, row.label) for row in read_rows(data)] == [("a", "1"), ("b", "false")]


@pytest.mark.parametrize(
    ("name", "text", "where", "what", "mend"),
    [
        ("a.jsonl", '{"text": "a", "label": "x"}\n{"text": "a"', "a.jsonl, line 2", "not JSON", "Mend the line"),
        ("a.jsonl", "[1]", "a.jsonl, line 1", "this is a list", "Mend the line"),
        ("a.jsonl", '{"body": "a", "label": "x"}', "line 1", 'no column "text"', "--set classify.data.text_column=body"),
        ("a.jsonl", '{"text": "a", "class": "x"}', "line 1", 'no column "label"', "--set classify.data.label_column=class"),
        ("a.jsonl", '{"text": 7, "label": "x"}', "line 1", '"text" is a number, not a string', "Mend"),
        ("a.jsonl", '{"text": "a", "label": null}', "line 1", '"label" is null, not a label', "Mend the row"),
        ("a.jsonl", '{"text": "a", "label": " "}', "line 1", '"label" is empty', "Mend the row"),
        ("a.csv", "text,label\na,x\nb,x,more\n", "a.csv, line 3", "3 columns, where the first line has 2", "Mend the row"),
        ("a.csv", 'text,label\n"a,x\n', "a.csv, line 2", "not a table", "Mend the quotes"),
        ("a.tsv", "txt\tlabel\na\tx\n", "a.tsv, line 2", 'no column "text"', "--set classify.data.text_column=txt"),
        ("a.csv", "text,label\n", "a.csv", "empty: it holds no rows", "Give a file"),
        ("a.jsonl", "", "a.jsonl", "empty: it holds no rows", "Give a file"),
        ("a.parquet", "x", "a.parquet", "not a kind of file that is read here", ".jsonl, .csv and .tsv"),
    ],
)
def test_a_bad_row_is_named_with_its_place_and_its_mend(
    tmp_path: Path, name: str, text: str, where: str, what: str, mend: str
) -> None:
    with pytest.raises(InputError) as caught:
        inspect(write(tmp_path / name, text), CORPUS)
    assert where in caught.value.where
    assert what in caught.value.what
    assert mend in caught.value.mend


def test_a_file_that_is_not_text_and_one_that_is_not_there_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("text,label\nKäse,x\n".encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8: it looks like ISO-8859-1"):
        inspect(ClassificationData(path=str(tmp_path / "a.csv")), CORPUS)
    with pytest.raises(InputError, match="no such file"):
        inspect(ClassificationData(path=str(tmp_path / "nowhere.csv")), CORPUS)
    with pytest.raises(InputError, match="a folder, not a file"):
        inspect(ClassificationData(path=str(tmp_path)), CORPUS)


def test_each_module_belongs_to_one_part_and_the_parts_are_of_a_fair_size() -> None:
    modules = [module for of in PARTS.values() for module in of]
    assert len(PARTS) == 10
    assert len(set(modules)) == len(modules)
    assert (part_of("email.message"), part_of("pydoc_data.topics")) == ("internet data", None)
    rows = by_part(stdlib_documents(CORPUS))
    counts = {part: sum(row.label == part for row in rows) for part in PARTS}
    assert min(counts.values()) > 150  # Debian keeps tkinter and others in packages of their own
    assert max(counts.values()) < 0.3 * len(rows)
    assert not [row for row in rows if row.id.startswith("pydoc_data")]


def test_the_version_of_the_demos_rows_is_that_of_their_source() -> None:
    stdlib = ClassificationData(path=PYTHON_STDLIB)
    assert inspect(stdlib, CORPUS) == inspect(stdlib, CORPUS)
    assert inspect(stdlib, CORPUS).licence == "PSF-2.0"
