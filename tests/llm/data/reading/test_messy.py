"""The shared messy files: each gets the treatment that its planted faults ask for, line by line where the manifest tells."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from infra.store.errors import InputError
from llm.data.reading.inspect import inspect
from llm.data.reading.rows import read
from llm.data.rows import Rejected, Row
from tests.llm.data.reading.reading import read_path

JSON_KINDS = {
    **dict.fromkeys(("ok", "missing", "wrongtype"), "row"),  # what is missing or of another type is its kind's matter
    **dict.fromkeys(("nan", "dupkey", "singlequote", "comment", "truncated", "extra", "trailing-comma"), "not-json"),
    "array": "not-an-object",
    "blank": "nothing",
}
TABLE_KINDS = {
    **dict.fromkeys(("ok", "bad-label", "number-as-text", "space-pad", "embedded-newline"), "row"),
    **dict.fromkeys(("extra-col", "missing-col", "semicolon-sep", "dup-header"), "wrong-columns"),
    "bad-quote": "bad-quotes",
}


@pytest.fixture(scope="module")
def messy(data_folder: Path) -> Path:
    return data_folder / "messy-synthetic"


@pytest.fixture(scope="module")
def told(messy: Path) -> dict[str, dict[str, Any]]:
    return {entry["file"]: entry for entry in json.loads((messy / "manifest.json").read_bytes())}


def outcomes(path: Path) -> dict[int, str]:
    """What became of each row by its number."""
    rows, rejected = read_path(path)
    return {row.number: "row" for row in rows} | {each.row: each.reason for each in rejected}


def test_each_line_of_broken_jsonl_is_a_row_or_rejected_by_its_kind(messy: Path, told: dict[str, dict[str, Any]]) -> None:
    kinds = told["broken.jsonl"]["line_kinds"]
    found = outcomes(messy / "broken.jsonl")
    assert [found.get(number, "nothing") for number in range(1, len(kinds) + 1)] == [JSON_KINDS[kind] for kind in kinds]


def test_each_record_of_the_ragged_table_is_a_row_or_rejected_by_its_kind(messy: Path, told: dict[str, dict[str, Any]]) -> None:
    expected, line = {}, 2
    for kind in told["ragged.csv"]["record_kinds"]:
        expected[line] = TABLE_KINDS[kind]
        line += 2 if kind == "embedded-newline" else 1
    assert outcomes(messy / "ragged.csv") == expected
    rows = {row.number: row.fields for row in read_path(messy / "ragged.csv")[0]}
    for line, kind in zip(expected, told["ragged.csv"]["record_kinds"], strict=True):
        if kind == "space-pad":
            assert [value.strip(' "') for value in rows[line].values()] == list(rows[line].values())


def test_each_line_of_mixed_encodings_is_read_or_rejected_by_its_kind(messy: Path, told: dict[str, dict[str, Any]]) -> None:
    kinds = told["mixed-encodings.txt"]["line_kinds"]
    encodings = Counter[str]()
    rows, rejected = read_path(messy / "mixed-encodings.txt", encodings=encodings)
    assert [each.row for each in rejected] == [number for number, kind in enumerate(kinds, start=1) if kind == "bad"]
    assert {each.reason for each in rejected} == {"undecodable"}
    assert encodings == Counter({"utf-8": kinds.count("u8"), "cp1252": kinds.count("cp") + kinds.count("l1")})
    lines = rows[0].fields["text"].split("\n")
    good = [kind for kind in kinds if kind != "bad"]
    assert all("“x”" in line for line, kind in zip(lines, good, strict=False) if kind == "cp")
    assert "\ufffd" not in rows[0].fields["text"]


def test_half_surrogate_pairs_are_rejected_under_the_ids_of_their_rows(messy: Path) -> None:
    labels = json.loads((messy / "documents.labels.json").read_bytes())
    rows, rejected = read_path(messy / "documents.jsonl")
    assert len(rows) + len(rejected) == 488
    assert {each.id for each in rejected} == {key for key, fault in labels.items() if fault == "lone-surrogate"}
    assert {each.reason for each in rejected} == {"lone-surrogate"}


@pytest.mark.parametrize(
    ("name", "encoding", "sign"),
    [
        ("latin1.txt", "latin-1", "é"),
        ("cp1252.txt", "cp1252", "€"),
        ("utf16-bom.txt", "utf-16", "é"),
        ("utf8-bom.txt", "utf-8-sig", "é"),
    ],
)
def test_text_in_other_encodings_comes_out_as_it_was_written(name: str, encoding: str, sign: str, messy: Path) -> None:
    rows, rejected = read_path(messy / name)
    assert [row.fields["text"] for row in rows] == [(messy / name).read_bytes().decode(encoding).replace("\r\n", "\n")]
    assert sign in rows[0].fields["text"]
    assert not rejected


def test_line_ends_are_made_one_and_long_lines_are_no_matter(messy: Path, told: dict[str, dict[str, Any]]) -> None:
    (row,), _ = read_path(messy / "mixed-newlines.txt")
    assert row.fields["text"].count("\n") >= told["mixed-newlines.txt"]["lines"] - 1
    assert "\r" not in row.fields["text"]
    (row,), _ = read_path(messy / "long-lines.txt.gz")
    assert [len(line) for line in row.fields["text"].rstrip("\n").split("\n")] == told["long-lines.txt.gz"]["line_lengths"]


def test_mojibake_and_nul_bytes_are_left_to_cleaning(messy: Path) -> None:
    for name in ("mojibake.txt", "nul-bytes.txt", "no-final-newline.txt"):
        (row,), rejected = read_path(messy / name)
        assert row.fields["text"] == (messy / name).read_text()
        assert not rejected


@pytest.mark.parametrize("name", ["binary.txt", "empty.txt", "truncated.txt.gz"])
def test_what_cannot_be_read_is_refused_where_it_stands_alone(name: str, messy: Path) -> None:
    with pytest.raises(InputError, match=name.partition(".")[0]):
        inspect(str(messy / name))


def test_the_folder_is_read_to_its_end(messy: Path) -> None:
    found = inspect(str(messy))
    assert found.skipped == {"empty": 1, "without suffix": 1}
    items = list(read(found))
    unreadable = [item.source for item in items if isinstance(item, Rejected) and item.reason == "unreadable-file"]
    assert unreadable == ["binary.txt", "truncated.txt.gz"]
    assert {item.source for item in items} == {file.name for file in found.files}
    assert sum(isinstance(item, Row) for item in items) > 500
