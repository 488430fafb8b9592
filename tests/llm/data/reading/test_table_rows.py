"""Tables: a broken record is rejected alone, whatever its quotes say about the lines behind it."""

import csv
import io
from pathlib import Path

import pytest

from tests.llm.data.reading.reading import read_bytes, reasons

HEAD = "label,text,n\n"
GOOD = 'ham,"one, two",1\n'
RECORDS = {
    "a column too many": ('ham,"text",1,9\n', "wrong-columns", "4 columns, where the header has 3"),
    "a column too few": ("ham\n", "wrong-columns", "1 column, where the header has 3"),
    "another separator": ("ham;text;1\n", "wrong-columns", "1 column, where the header has 3"),
    "the header again": ("label,text,n\n", "wrong-columns", "the header again"),
    "the header again, aligned": (' label , "text" , n \n', "wrong-columns", "the header again"),
    "text behind a quote": ('ham,"text,3"x\n', "bad-quotes", "a quote that is not closed, or text behind one"),
    "a quote that is not closed": ('ham,"text,3\n', "bad-quotes", "a quote that is not closed"),
    "a quote in a quoted text": ('ham,"he said "yes" to it",3\n', "bad-quotes", "a quote that is not closed, or text behind one"),
}


@pytest.mark.parametrize("case", RECORDS)
@pytest.mark.parametrize("behind", [GOOD, "ham,text,1\n", 'ham,"two\nlines",1\n', 'ham,"an ""inner"" quote",1\n'])
def test_a_bad_record_is_rejected_and_takes_no_other_with_it(case: str, behind: str, tmp_path: Path) -> None:
    line, reason, detail = RECORDS[case]
    rows, rejected = read_bytes(tmp_path, "a.csv", (HEAD + GOOD + line + behind * 3).encode())
    assert [row.number for row in rows] == [2] + [4 + place * behind.count("\n") for place in range(3)]
    assert [(each.row, each.reason, each.text) for each in rejected] == [(3, reason, line.rstrip("\n"))]
    assert rejected[0].detail.startswith(f"a.csv, line 3: {detail}")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(("name", "separator"), [("a.csv", ","), ("a.tsv", "\t")])
def test_what_the_standard_library_writes_comes_back_exactly(name: str, separator: str, end: str, tmp_path: Path) -> None:
    table = [
        ["a", 'b "quoted"', " c "],
        ["1", "two\nlines", ""],
        ['"', ',;\t"\n"', "x" * 1_000_000],
        ["", "", " "],
        ["é", "\r\n", "''"],
    ]
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator, lineterminator=end).writerows([["x", "y", "z"], *table])
    rows, rejected = read_bytes(tmp_path, name, text.getvalue().encode())
    assert [list(row.fields.values()) for row in rows] == table
    assert not rejected


def test_a_record_is_numbered_by_its_first_line(tmp_path: Path) -> None:
    rows, _ = read_bytes(tmp_path, "a.csv", b'id,text\n1,"a\nb\n\nc"\n\n2,d\n')
    assert [(row.number, row.id, row.fields["text"]) for row in rows] == [(2, "1", "a\nb\n\nc"), (7, "2", "d")]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_the_separator_is_found_by_the_header(name: str, separator: str, tmp_path: Path) -> None:
    lines = [separator.join(cells) for cells in (("label", "text", "n"), ("ham", "one", "1"))]
    rows, rejected = read_bytes(tmp_path, name, "\n".join(lines).encode())
    assert [dict(row.fields) for row in rows] == [{"label": "ham", "text": "one", "n": "1"}]
    assert not rejected


def test_fields_aligned_by_spaces_around_their_quotes_are_stripped(tmp_path: Path) -> None:
    rows, rejected = read_bytes(tmp_path, "a.csv", (HEAD + '  spam , "one, two" , 6 \n  plain , text , 7 \n').encode())
    assert [list(row.fields.values()) for row in rows] == [["spam", "one, two", "6"], ["  plain ", " text ", " 7 "]]
    assert not rejected


@pytest.mark.parametrize("text", ['foo "bar" , baz', ' "x" ', '", "', '" , "', ' , "'])
def test_spaces_beside_quotes_within_a_text_are_its_own(text: str, tmp_path: Path) -> None:
    content = io.StringIO()
    csv.writer(content).writerows([["a", "b", "c"], ["1", text, " 2 "]])
    rows, rejected = read_bytes(tmp_path, "a.csv", content.getvalue().encode())
    assert [list(row.fields.values()) for row in rows] == [["1", text, " 2 "]]
    assert not rejected


def test_in_a_tsv_a_quote_may_be_a_character_like_any_other(tmp_path: Path) -> None:
    rows, rejected = read_bytes(tmp_path, "a.tsv", b'label\ttext\nham\t"Yes" he said\nspam\t"open\nham\tlast\n')
    assert [list(row.fields.values()) for row in rows] == [["ham", '"Yes" he said'], ["spam", '"open'], ["ham", "last"]]
    assert not rejected


def test_old_line_ends_end_records_too(tmp_path: Path) -> None:
    rows, _ = read_bytes(tmp_path, "a.csv", b"a,b\r1,2\r3,4\r\n5,6")
    assert [list(row.fields.values()) for row in rows] == [["1", "2"], ["3", "4"], ["5", "6"]]
    rows, _ = read_bytes(tmp_path, "b.csv", b"x\r1\r2")
    assert [row.fields["x"] for row in rows] == ["1", "2"]


def test_columns_with_the_same_name_or_none_are_kept_apart(tmp_path: Path) -> None:
    rows, _ = read_bytes(tmp_path, "a.csv", b"a,a,\n1,2,3\n")
    assert dict(rows[0].fields) == {"a": "1", "a (2)": "2", "column 3": "3"}


@pytest.mark.parametrize("header", [b'a,"b\n', b"a,\xc3\xa9\xff\n"])
def test_a_table_without_a_readable_header_is_one_rejected_row(header: bytes, tmp_path: Path) -> None:
    rows, rejected = read_bytes(tmp_path, "a.csv", header + b"1,2\n")
    assert not rows
    assert reasons(rejected) == [(1, "unreadable-file")]


def test_many_open_quotes_take_no_time(tmp_path: Path) -> None:
    lines = "".join(f'ham,"{number} inches,{number}\n' for number in range(20_000))
    rows, rejected = read_bytes(tmp_path, "a.csv", (HEAD + lines).encode())
    assert (len(rows), len(rejected)) == (0, 20_000)
