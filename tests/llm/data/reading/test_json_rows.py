"""Rows of JSON: what is no row is named with its place, what is one comes back exactly, in lists as in lines."""

import json
from pathlib import Path

import pytest

from tests.llm.data.reading.reading import read_bytes, reasons

ROWS = [{"text": "first", "n": 1}, {"text": "☃ \U0001f600", "more": [None, {"a": 1.5}]}, {"text": "x" * 1_000_000}]
BAD = {
    "single quotes": ("{'text': 1}", "not-json", "Expecting property name enclosed in double quotes, column 2"),
    "cut": ('{"text": "a', "not-json", "Unterminated string starting at, column 10"),
    "comment": ('// {"text": "a"}', "not-json", "Expecting value, column 1"),
    "trailing comma": ('{"text": "a",}', "not-json", "Expecting property name"),
    "two values": ('{"text": "a"} {"text": "b"}', "not-json", "more than one value, column 14"),
    "NaN": ('{"text": "a", "score": NaN}', "not-json", "NaN is not JSON"),
    "infinity": ('{"text": "a", "score": [-Infinity]}', "not-json", "-Infinity is not JSON"),
    "a key twice": ('{"text": "a", "text": "b"}', "not-json", 'key twice: "text"'),
    "a key twice within": ('{"text": "a", "more": [{"b": 1, "b": 2}]}', "not-json", 'key twice: "b"'),
    "a raw control character": ('{"text": "a\tb"}', "not-json", "Invalid control character at, column 12"),
    "a list": ("[1, 2]", "not-an-object", "a row is an object, this is a list"),
    "null": ("null", "not-an-object", "a row is an object, this is null"),
    "a number": ("12", "not-an-object", "a row is an object, this is a number"),
    "half a pair": ('{"text": "a\\ud83d"}', "lone-surrogate", 'half a surrogate pair in "text"'),
    "half a pair within": ('{"text": "a", "more": [{"b": "\\uDE00"}]}', "lone-surrogate", 'half a surrogate pair in "more"'),
    "half a pair in a key": ('{"a\\ud83d": 1}', "lone-surrogate", 'half a surrogate pair in "a\\ud83d"'),
    "deep": ("[" * 100_000, "not-json", ""),
    "a number without end": ('{"n": ' + "1" * 5000 + "}", "not-json", "Exceeds the limit"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_line_is_rejected_with_its_place_and_the_others_stay(case: str, tmp_path: Path) -> None:
    line, reason, detail = BAD[case]
    rows, rejected = read_bytes(tmp_path, "a.jsonl", f'{{"text": "good"}}\n{line}\n{{"text": "too"}}\n'.encode())
    assert [(row.id, row.number) for row in rows] == [("a.jsonl:1", 1), ("a.jsonl:3", 3)]
    assert [(each.id, each.row, each.reason, each.text) for each in rejected] == [("a.jsonl:2", 2, reason, line)]
    assert rejected[0].detail.startswith(f"a.jsonl, line 2: {detail}")


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@pytest.mark.parametrize("ascii_alone", [True, False])
def test_rows_come_back_exactly(name: str, ascii_alone: bool, tmp_path: Path) -> None:
    content = "\n".join(json.dumps(row, ensure_ascii=ascii_alone) for row in ROWS)
    rows, rejected = read_bytes(tmp_path, name, content.encode())
    assert [row.fields for row in rows] == ROWS
    assert not rejected


def test_blank_lines_are_no_rows_but_count_as_lines(tmp_path: Path) -> None:
    rows, rejected = read_bytes(tmp_path, "a.jsonl", b'\n{"a": 1}\r\n \t\r\n\n{"a": 2}')
    assert [row.number for row in rows] == [2, 5]
    assert not rejected


def test_an_input_keeps_its_own_ids_as_strings(tmp_path: Path) -> None:
    lines = ('{"id": "d7"}', '{"id": 12}', '{"id": ""}', '{"id": null}', '{"id": true}', '{"id": 1.5}', '{"key": "k"}')
    content = "\n".join((*lines, '{"id": "d8", "t": "\\ud83d"}')).encode()
    rows, rejected = read_bytes(tmp_path, "a.jsonl", content)
    numbered = [f"a.jsonl:{number}" for number in (3, 4, 5, 6, 7)]
    assert [row.id for row in rows] == ["d7", "12", *numbered]
    assert [each.id for each in rejected] == ["d8"]
    rows, _ = read_bytes(tmp_path, "b.jsonl", content, id_column="key")
    assert [row.id for row in rows][-1] == "k"


@pytest.mark.parametrize("indent", [None, 0, 2, "\t"])
def test_a_list_of_rows_is_read_however_it_is_laid_out(indent: int | str | None, tmp_path: Path) -> None:
    rows, rejected = read_bytes(tmp_path, "a.json", json.dumps(ROWS, indent=indent).encode())
    assert [(row.number, row.fields) for row in rows] == list(enumerate(ROWS, start=1))
    assert not rejected


def test_objects_over_several_lines_are_rows_too(tmp_path: Path) -> None:
    rows, rejected = read_bytes(tmp_path, "a.json", "\n".join(json.dumps(row, indent=1) for row in ROWS).encode())
    assert [row.fields for row in rows] == ROWS
    assert not rejected


def test_an_empty_list_holds_no_row(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("text")
    assert read_bytes(tmp_path, "a.json", b" [ ]\n") == ([], [])


@pytest.mark.parametrize("case", [case for case in BAD if case not in {"two values", "comment"}])
@pytest.mark.parametrize("indent", ["", "  "])
def test_a_bad_row_of_a_list_with_a_row_a_line_takes_no_other_with_it(case: str, indent: str, tmp_path: Path) -> None:
    line, reason, _ = BAD[case]
    content = f'[\n{indent}{{"text": "good"}},\n{indent}{line},\n{indent}{{"text": "too"}}\n]'
    rows, rejected = read_bytes(tmp_path, "a.json", content.encode())
    assert [(row.number, row.fields["text"]) for row in rows] == [(1, "good"), (3, "too")]
    assert reasons(rejected) == [(2, reason)]


def test_where_rows_have_no_lines_of_their_own_the_rest_of_a_broken_list_is_said_to_be_left_out(tmp_path: Path) -> None:
    rows, rejected = read_bytes(tmp_path, "a.json", b'[{"a": 1}, {"a": 2,}, {"a": [{"b": 3}]}]')
    assert [row.fields for row in rows] == [{"a": 1}]
    assert reasons(rejected) == [(2, "not-json")]
    assert rejected[0].detail.endswith("the rest of the file is left out")
    assert rejected[0].text == '{"a": 2,}, {"a": [{"b": 3}]}]'


@pytest.mark.parametrize(
    ("content", "rejected_rows"),
    [
        (b'[{"a": 1}, {"a": 2}', [3]),
        (b'[{"a": 1}, {"a": 2},', [3]),
        (b'[{"a": 1}, {"a": 2}, {"a', [3]),
        (b'[{"a": 1}, {"a": 2}] {"a": 3}', [3]),
        (b'[{"a": 1}, {"a": 2}]\n\n', []),
        (b'\xef\xbb\xbf[{"a": 1}, {"a": 2}]', []),
    ],
)
def test_a_list_that_does_not_end_well_is_told(content: bytes, rejected_rows: list[int], tmp_path: Path) -> None:
    rows, rejected = read_bytes(tmp_path, "a.json", content)
    assert [row.fields for row in rows] == [{"a": 1}, {"a": 2}]
    assert reasons(rejected) == [(row, "not-json") for row in rejected_rows]


def test_a_large_list_is_read_piece_by_piece(tmp_path: Path) -> None:
    many = [{"n": n, "text": "y" * (n % 3000)} for n in range(4000)]  # 6 MB
    rows, rejected = read_bytes(tmp_path, "a.json", json.dumps(many).encode())
    assert [row.fields for row in rows] == many
    assert not rejected
