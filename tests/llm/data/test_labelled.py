"""Labelled texts are read from any format as they are, and a row that cannot be used is named with its mend, or left out."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.store.errors import InputError
from llm.data.config import PYTHON_STDLIB, ClassificationData, DataConfig
from llm.data.kinds.classification import Labelled
from llm.data.labelled import by_part, gather, inspect, judge, stdlib_documents
from llm.data.stdlib_parts import PARTS, part_of

CORPUS = DataConfig()
ROWS = [("Hello, you\nwon", "spam"), ('He said "no"', "ham"), ("Käse 😀", "ham")]


def write(path: Path, text: str) -> ClassificationData:
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return ClassificationData(path=str(path))


@pytest.mark.parametrize(
    "name", ["mail.jsonl", "mail.jsonl.gz", "mail.json", "mail.csv", "mail.tsv", "mail.tsv.gz", "mail.parquet"]
)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    objects = [{"text": text, "label": label} for text, label in ROWS]
    numbers = [1, 2, 3]
    data = ClassificationData(path=str(tmp_path / name))
    if ".jsonl" in name:
        write(tmp_path / name, "\n\n".join(map(json.dumps, objects)))
        numbers = [1, 3, 5]
    elif ".json" in name:
        write(tmp_path / name, json.dumps(objects))
    elif ".parquet" in name:
        pq.write_table(pa.Table.from_pylist(objects), tmp_path / name)
    else:
        mark = "," if ".csv" in name else "\t"
        quoted = ['"' + text.replace('"', '""') + '"' + mark + label for text, label in ROWS]
        write(tmp_path / name, "\n".join([f"text{mark}label", *quoted]))
        numbers = [2, 4, 5]
    expected = [Labelled(f"{name}:{number}", *row) for number, row in zip(numbers, ROWS, strict=True)]
    assert list(judge(data).kept) == expected
    found = inspect(data)
    assert found.summary.startswith(f'3 rows in {name}; the text is in "text", by its name; the label is in "label", by its name')
    assert [file.name for file in found.files] == [name]


def test_a_folder_is_one_source_and_a_rows_own_id_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "mail"
    folder.mkdir()
    write(folder / "a.jsonl", '{"text": "a", "label": "x", "id": "first"}\n')
    write(folder / "b.csv", "label,text\ny,b\n")
    found = judge(ClassificationData(path=str(folder)))
    assert found.kept == (Labelled("first", "a", "x"), Labelled("b.csv:2", "b", "y"))


def test_columns_have_the_names_that_the_recipe_says_and_numbers_are_labels(tmp_path: Path) -> None:
    path = tmp_path / "mail.jsonl"
    path.write_text('{"body": "a", "spam": 1}\n{"body": "b", "spam": false}\n')
    data = ClassificationData(path=str(path), text_column="body", label_column="spam")
    assert [(row.text, row.label) for row in judge(data).kept] == [("a", "1"), ("b", "false")]


def test_columns_that_nobody_named_are_found_and_said(tmp_path: Path) -> None:
    path = tmp_path / "mail.csv"
    path.write_text("n,sentiment,sentence\n" + "".join(f'{n},{("up", "down")[n % 2]},"number {n}"\n' for n in range(9)))
    found = judge(ClassificationData(path=str(path), text_column="", label_column=""))
    assert found.kept[0] == Labelled("mail.csv:2", "number 0", "up")
    assert found.columns_found == 'the text is in "sentence", by its name; the label is in "sentiment", by its name'


def test_a_table_without_a_header_loses_no_row(tmp_path: Path) -> None:
    folder = tmp_path / "sms"
    folder.mkdir()
    for part in ("a", "b"):
        rows = [f"{('ham', 'spam')[n % 3 == 1]}\tpart {part}, text {n}" for n in range(12)]
        (folder / f"{part}.tsv").write_text("\n".join(rows) + "\n")
    found = judge(ClassificationData(path=str(folder), text_column="", label_column=""))
    assert found.rows == 24
    assert found.kept[0] == Labelled("a.tsv:1", "part a, text 0", "ham")
    assert found.kept[12:14] == (Labelled("b.tsv:1", "part b, text 0", "ham"), Labelled("b.tsv:2", "part b, text 1", "spam"))
    assert found.columns_found == "a label and a text in files without a header"


@pytest.mark.parametrize(
    ("name", "text", "where", "what", "mend"),
    [
        ("a.jsonl", '{"text": "a", "label": "x"}\n{"text": "a"', "a.jsonl, line 2", "Expecting", "Mend the row"),
        ("a.jsonl", '[1]\n{"text": "a", "label": "x"}', "a.jsonl, line 1", "this is a list", "Mend the row"),
        ("a.jsonl", '{"text": "a", "label": "x"}\n{"text": "a"}', "a.jsonl, line 2", 'no column "label"', "Mend the row"),
        ("a.jsonl", '{"text": "a", "label": "x"}\n{"text": 7, "label": "x"}', "line 2", '"text" is a number, not a string', "Mend"),
        ("a.jsonl", '{"text": "a", "label": null}', "line 1", '"label" is null, not a label', "Mend the row"),
        ("a.jsonl", '{"text": "a", "label": " "}', "line 1", '"label" is empty', "Mend the row"),
        ("a.csv", "text,label\na,x\nb,x,more\n", "a.csv, line 3", "3 columns, where the header has 2", "Mend the row"),
        ("a.csv", 'text,label\n"a,x\n', "a.csv, line 2", "a quote that is not closed", "Mend the row"),
        ("a.csv", "text,label\n", "a.csv", "empty: it holds no rows", "Give a file"),
        ("a.jsonl", "", "a.jsonl", "empty: it holds no rows", "Give a file"),
        ("a.png", "x", "a.png", "not a kind of file that is read here", ".jsonl"),
    ],
)
def test_a_bad_row_is_named_with_its_place_and_its_mend(
    tmp_path: Path, name: str, text: str, where: str, what: str, mend: str
) -> None:
    with pytest.raises(InputError) as caught:
        inspect(write(tmp_path / name, text))
    assert where in caught.value.where
    assert what in caught.value.what
    assert mend in caught.value.mend


@pytest.mark.parametrize(
    ("name", "text", "what", "mend"),
    [
        ("a.jsonl", '{"body": "a", "label": "x"}', 'no column "text"', "Set classify.data.text_column"),
        ("a.jsonl", '{"text": "a", "class": "x"}', 'no column "label"', "Set classify.data.label_column"),
        ("a.tsv", "txt\tlabel\na\tx\n", 'no column "text"', "Did you mean txt?"),
    ],
)
def test_a_column_that_was_named_and_is_not_there_is_told(tmp_path: Path, name: str, text: str, what: str, mend: str) -> None:
    data = replace(write(tmp_path / name, text), text_column="text", label_column="label")
    with pytest.raises(InputError) as caught:
        inspect(data)
    assert name in caught.value.where
    assert what in caught.value.what
    assert mend in caught.value.mend


def test_wrong_rows_are_left_out_where_that_is_asked_for_and_empty_texts_always(tmp_path: Path) -> None:
    rows = ['{"text": "a", "label": "x"}', '{"text": "a", "label": ""}', "{", '{"text": " ", "label": "y"}', '{"text": 1}', "[]"]
    data = write(tmp_path / "a.jsonl", "\n".join(rows))
    with pytest.raises(InputError) as caught:
        inspect(data)
    assert caught.value.where == f"{tmp_path}/a.jsonl, line 2"
    assert caught.value.mend == (
        "Mend the row, or remove it, or pass --set classify.data.on_invalid=drop to leave it out (and the 3 wrong in another way)."
    )
    found = judge(data)
    assert found.reasons == {"empty": 1, "no-label": 1, "not-an-object": 1, "not-json": 1, "not-text": 1}
    assert (found.rows, [row.id for row in found.kept], len(found.wrong)) == (6, ["a.jsonl:1"], 4)
    assert inspect(ClassificationData(path=data.path, on_invalid="drop")).version == judge_version(data)


def judge_version(data: ClassificationData) -> str:
    """What a good file of the same content would have."""
    from llm.data.reading.inspect import inspect as look

    return look(data.path).version


def test_a_file_in_another_encoding_is_read_and_one_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("text,label\nKäse,x\nBrötchen,y\n".encode("latin-1"))
    assert [row.text for row in judge(ClassificationData(path=str(tmp_path / "a.csv"))).kept] == ["Käse", "Brötchen"]
    with pytest.raises(InputError, match="no such file"):
        inspect(ClassificationData(path=str(tmp_path / "nowhere.csv")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="an empty folder"):
        inspect(ClassificationData(path=str(tmp_path / "empty")))


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
    assert inspect(stdlib) == inspect(stdlib)
    assert inspect(stdlib).licence == "PSF-2.0"


def test_real_data_is_read_without_a_header_and_with_broken_lines(data_folder: Path) -> None:
    sms = judge(ClassificationData(path=str(data_folder / "sms-spam" / "SMSSpamCollection.tsv")))
    assert sms.rows == 4_419
    labels = [row.label for row in sms.kept]
    assert (set(labels), sms.kept[0].text[:20]) == ({"ham", "spam"}, "Go until jurong poin")
    assert sms.reasons == {"exact-duplicate": 4_419 - len(sms.kept)}
    folder = ClassificationData(path=str(data_folder / "sms-spam"), text_column="", label_column="")
    again = gather(folder, CORPUS)  # with its README and its authors' note, which are no rows
    assert (again.rows.kept, again.source.skipped) == (sms.kept, {".md": 1, ".txt": 1})
    with pytest.raises(InputError, match="text, and no rows"):
        inspect(ClassificationData(path=str(data_folder / "sms-spam" / "README.md")))
