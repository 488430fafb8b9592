"""Damage of every kind, in every format and packing, at many places: rows and rejected rows come out, and all are accounted for.

A file is counted here by other means: a plain loop over its lines, the standard library's `csv`, pyarrow as it comes.
"""

import csv
import io
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from infra.store.errors import InputError
from llm.data.reading.inspect import inspect
from llm.data.reading.rows import read, read_span
from llm.data.reading.spans import spans
from llm.data.rows import Rejected, Row
from tests.llm.data.reading.reading import PACK
from tests.llm.data.reading.test_columnar_rows import FILES

READING: Final = {"undecodable", "lone-surrogate", "not-json", "not-an-object", "wrong-columns", "bad-quotes", "unreadable-file"}
ROWS: Final = [{"id": f"r{n}", "text": f"row {n} — naïve " * (n % 9), "n": n} for n in range(400)]


def _table(separator: str) -> bytes:
    text = io.StringIO(newline="")
    rows = [[row["id"], f'{row["text"]}\n"{row["n"]}"', row["n"]] for row in ROWS]
    csv.writer(text, delimiter=separator).writerows([["id", "text", "n"], *rows])
    return text.getvalue().encode()


PLAIN: Final = {
    "a.txt": "".join(f"{row['text']}\n" for row in ROWS).encode(),
    "a.jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode(),
    "a.json": json.dumps(ROWS, indent=1).encode(),
    "a.csv": _table(","),
    "a.tsv": _table("\t"),
    **FILES,
}


def rows_of(folder: Path, name: str, content: bytes) -> list[Row | Rejected]:
    """What comes of a file in a folder. Checks what must hold whatever the file holds."""
    (folder / name).write_bytes(content)
    try:
        found = inspect(str(folder))
    except InputError:
        return []  # empty, as the folder then is
    items = list(read(found))
    for item in items:
        if isinstance(item, Row):
            json.dumps([item.id, *item.fields], ensure_ascii=False).encode()
        else:
            assert item.reason in READING
            assert item.detail.startswith(name)
            (item.id + item.detail + item.text).encode()
    assert [item for span in spans(found, 300) for item in read_span(span)] == items
    if name.startswith("a.txt"):
        return items
    numbers = [item.number if isinstance(item, Row) else item.row for item in items]
    assert numbers == sorted(set(numbers))  # no row comes twice, none out of its order
    return items


def damaged(content: bytes, seed: int) -> Iterator[bytes]:
    """Cut at many places, with bytes changed, taken out, doubled."""
    generator = random.Random(seed)
    for place in (0, 1, 5, 9, len(content) // 3, len(content) // 2, len(content) - 9, len(content) - 1):
        yield content[:place]
    for _ in range(12):
        start = generator.randrange(len(content))
        stop = min(len(content), start + generator.choice((1, 8, 200)))
        middle = generator.choice((b"", b"\xff" * (stop - start), bytes(stop - start), content[start:stop] * 2, b'"', b"\n"))
        yield content[:start] + middle + content[stop:]


@pytest.mark.parametrize("packed", PACK)
@pytest.mark.parametrize("name", PLAIN)
def test_damage_at_any_place_gives_rows_and_rejected_rows_alone(name: str, packed: str, tmp_path: Path) -> None:
    called = f"{name}.{packed}" if packed else name
    content = PACK[packed](PLAIN[name])
    whole = rows_of(tmp_path, called, content)
    assert len(whole) == (1 if name == "a.txt" else 100 if name in FILES else 400)
    known = {json.dumps(dict(item.fields), default=str) for item in whole if isinstance(item, Row)}
    for number, changed in enumerate(damaged(content, len(called))):
        items = rows_of(tmp_path, called, changed)
        told = any(isinstance(item, Rejected) for item in items)
        if packed and number > 1 and changed not in {b"", content}:  # packed data have checksums: nothing wrong passes untold
            assert told or len(items) >= len(whole) or not items
            assert told or {json.dumps(dict(item.fields), default=str) for item in items if isinstance(item, Row)} <= known


@pytest.mark.parametrize("packed", list(PACK)[1:])
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_the_rows_before_a_cut_stay_and_the_place_is_told(name: str, packed: str, tmp_path: Path) -> None:
    generator = random.Random(1)
    lines = [f'{{"n": {n}, "text": "{generator.randbytes(300).hex()}"}}\n' for n in range(3000)]  # 1 MB, packed too
    if name == "a.csv":
        lines = ["n,text\n", *(f"{n},{generator.randbytes(300).hex()}\n" for n in range(2999))]
    content = PACK[packed]("".join(lines).encode())
    for share in (0.3, 0.6, 0.95):
        items = rows_of(tmp_path, f"{name}.{packed}", content[: int(len(content) * share)])
        rows, rejected = items[:-1], items[-1]
        assert all(isinstance(row, Row) for row in rows)
        assert isinstance(rejected, Rejected)
        assert rejected.reason == "unreadable-file"
        assert "truncated: its packed data end early" in rejected.detail
        assert len(rows) > share * 3000 - (1600 if packed == "bz2" else 500)  # bzip2 has blocks of 0.9 MB
        assert f"{len(rows):,} rows before line {rejected.row} could be read" in rejected.detail


def lines_of(content: bytes) -> int:
    """Lines with anything in them but white space."""
    return sum(bool(line.strip(b" \t\r")) for line in content.split(b"\n"))


_PIECES = st.sampled_from(
    [
        *(
            b"\n",
            b"\r\n",
            b"\r",
            b" ",
            b"\t",
            b",",
            b";",
            b'"',
            b'""',
            b"{",
            b"}",
            b"[",
            b"]",
            b":",
            b"\\",
            b"\\ud83d",
            b"\0",
            b"a",
        ),
        *(
            b"1",
            b"NaN",
            b"null",
            b'{"a": 1}',
            b'{"id": "x", "a": "b"}\n',
            b'"a","b"\n',
            b"a,b\n",
            "é—".encode(),
            "é—".encode("cp1252"),
        ),
        *("é—".encode("cp1252"), b"\xef\xbb\xbf", b"\xff\xfe", b"\xc3(\xff", "ж".encode("cp1251") * 9, "naïve\n".encode("utf-16")),
    ]
)
CONTENT = st.one_of(st.binary(max_size=200), st.lists(_PIECES, max_size=40).map(b"".join))


@settings(max_examples=200, deadline=None)
@given(content=CONTENT)
@example(content=b"\xef\xbb\xbf\n{}")
@example(content=b"{}\n\xff\xfe\n{}")
def test_whatever_a_jsonl_holds_each_line_is_a_row_or_rejected(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    items = rows_of(tmp_path_factory.mktemp("fuzz"), "a.jsonl", content)
    if any(item.reason == "unreadable-file" for item in items if isinstance(item, Rejected)):
        assert len(items) == 1
    elif not content.startswith((b"\xff\xfe", b"\xfe\xff")) and b"\0" not in content:
        assert len(items) == lines_of(content.removeprefix(b"\xef\xbb\xbf"))


@settings(max_examples=200, deadline=None)
@given(
    content=CONTENT,
    name=st.sampled_from(["a.txt", "a.json", "a.csv", "a.tsv", "a.parquet", "a.arrow"]),
    packed=st.sampled_from([*PACK]),
)
def test_whatever_bytes_a_file_holds_nothing_but_rows_and_rejected_rows_come_out(
    content: bytes, name: str, packed: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows_of(tmp_path_factory.mktemp("fuzz"), f"{name}.{packed}" if packed else name, PACK[packed](content))


@settings(max_examples=200, deadline=None)
@given(content=CONTENT)
def test_no_line_of_a_text_file_is_lost(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    items = rows_of(tmp_path_factory.mktemp("fuzz"), "a.txt", content)
    text = "".join(item.fields["text"] for item in items if isinstance(item, Row))
    lines = content.removeprefix(b"\xef\xbb\xbf").splitlines()
    rejected = [item for item in items if isinstance(item, Rejected)]
    if (
        content.startswith((b"\xff\xfe", b"\xfe\xff"))
        or b"\0" in content
        or any(item.reason == "unreadable-file" for item in rejected)
    ):
        return
    kept = [line for number, line in enumerate(lines, start=1) if number not in {item.row for item in rejected}]
    assert "\ufffd" not in text
    if text:
        assert len([line for line in text.split("\n") if line]) == len([line for line in kept if line])
    else:
        assert not b"".join(kept).strip()


CELL = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\r\t"), max_size=12)


@settings(max_examples=200, deadline=None)
@given(
    records=st.lists(st.lists(CELL, min_size=3, max_size=3), min_size=1, max_size=12),
    bad=st.lists(
        st.tuples(st.integers(0, 12), st.sampled_from(["x\n", 'x,"y"z,w\n', "x;y;z\n", "a,b,c,d\n", 'x,"open,w\n'])), max_size=4
    ),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_records_that_are_well_written_survive_those_that_are_not(
    records: list[list[str]], bad: list[tuple[int, str]], quoting: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    parts = ["one,two,three\r\n"]
    for number, record in enumerate(records):
        parts += [line for place, line in bad if place == number]
        text = io.StringIO(newline="")
        csv.writer(text, quoting=quoting).writerow(record)
        parts.append(text.getvalue())
    folder = tmp_path_factory.mktemp("fuzz")
    items = rows_of(folder, "a.csv", "".join(parts).encode())
    rows = [list(item.fields.values()) for item in items if isinstance(item, Row)]
    if not any("open" in line for _, line in bad):  # a quote that opens may close in the next record, as if it were meant
        expected = [record for record in records if [cell.strip() for cell in record] != ["one", "two", "three"]]
        assert [[cell.strip(" ") for cell in row] for row in rows] == [[cell.strip(" ") for cell in record] for record in expected]
        assert len(items) - len(rows) == sum(place < len(records) for place, _ in bad) + len(records) - len(expected)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.fixed_dictionaries({"id": CELL, "text": st.none() | CELL, "n": st.none() | st.integers(-(2**63), 2**63 - 1)}),
        min_size=1,
        max_size=30,
    ),
    name=st.sampled_from(["a.parquet", "a.arrow", "a.jsonl", "a.json"]),
    packed=st.sampled_from([*PACK]),
)
def test_what_others_write_comes_back_exactly(
    rows: list[dict[str, Any]], name: str, packed: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = io.BytesIO()
    table = pa.Table.from_pylist(rows, schema=pa.schema({"id": pa.string(), "text": pa.string(), "n": pa.int64()}))
    if name == "a.parquet":
        pa.parquet.write_table(table, made)
    elif name == "a.arrow":
        with pa.ipc.new_stream(made, table.schema) as writer:
            writer.write_table(table)
    else:
        made.write(json.dumps(rows).encode() if name == "a.json" else "".join(json.dumps(row) + "\n" for row in rows).encode())
    folder = tmp_path_factory.mktemp("fuzz")
    items = rows_of(folder, f"{name}.{packed}" if packed else name, PACK[packed](made.getvalue()))
    assert [item.fields for item in items if isinstance(item, Row)] == rows
