"""Parquet and Arrow: rows come back exactly, a damaged part is told with its rows, and the parts around it stay."""

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.llm.data.reading.reading import read_bytes, reasons

ROWS = [{"id": f"r{n}", "text": f"row {n} é " * (n % 5), "n": n, "more": [{"a": str(n)}] if n % 3 else None} for n in range(100)]
TABLE = pa.Table.from_pylist(ROWS)


def parquet(table: Any = TABLE, **options: Any) -> bytes:
    made = io.BytesIO()
    pq.write_table(table, made, row_group_size=20, **options)
    return made.getvalue()


def arrow(table: Any = TABLE, *, stream: bool, compression: str | None = None) -> bytes:
    made = io.BytesIO()
    new = pa.ipc.new_stream if stream else pa.ipc.new_file
    with new(made, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table, max_chunksize=20)
    return made.getvalue()


FILES = {
    "snappy.parquet": parquet(),
    "zstd.parquet": parquet(compression="zstd"),
    "file.arrow": arrow(stream=False),
    "stream.arrow": arrow(stream=True),
    "lz4.arrow": arrow(stream=False, compression="lz4"),
    "zstd.arrow": arrow(stream=True, compression="zstd"),
}


@pytest.mark.parametrize("name", FILES)
def test_rows_come_back_exactly_with_their_ids(name: str, tmp_path: Path) -> None:
    rows, rejected = read_bytes(tmp_path, name, FILES[name])
    assert [row.fields for row in rows] == ROWS
    assert [(row.id, row.number) for row in rows] == [(f"r{n}", n + 1) for n in range(100)]
    assert not rejected


@pytest.mark.parametrize("name", FILES)
def test_columns_that_are_not_wanted_are_left_unread(name: str, tmp_path: Path) -> None:
    rows, _ = read_bytes(tmp_path, name, FILES[name], columns=["n"])
    assert [dict(row.fields) for row in rows] == [{"id": row["id"], "n": row["n"]} for row in ROWS]
    rows, _ = read_bytes(tmp_path, name, FILES[name], columns=["not there"])
    assert [row.fields for row in rows] == ROWS


@pytest.mark.parametrize("name", ["snappy.parquet", "file.arrow"])
def test_a_damaged_part_is_one_rejected_row_and_the_others_stay(name: str, tmp_path: Path) -> None:
    damaged = bytearray(FILES[name])
    if name == "snappy.parquet":
        start = pq.read_metadata(io.BytesIO(FILES[name])).row_group(2).column(1).data_page_offset
    else:
        source = pa.BufferReader(FILES[name][8:])
        stream = pa.ipc.open_stream(source)
        stream.read_next_batch(), stream.read_next_batch()
        start = 8 + source.tell()
    damaged[start : start + 40] = b"\xff" * 40
    rows, rejected = read_bytes(tmp_path, name, bytes(damaged))
    numbers = [row.number for row in rows]
    assert [(each.reason, each.row) for each in rejected][:1] == [("unreadable-file", 41)]
    assert set(range(1, 41)) <= set(numbers)
    assert [row.fields for row in rows[-40:]] == ROWS[60:]


@pytest.mark.parametrize("name", [name for name in FILES if "stream" in name or name == "zstd.arrow"])
def test_a_stream_that_breaks_off_keeps_the_rows_before(name: str, tmp_path: Path) -> None:
    for cut in (9, 200, len(FILES[name]) // 2):
        rows, rejected = read_bytes(tmp_path, name, FILES[name][:-cut])
        assert [row.fields for row in rows] == ROWS[: len(rows)]
        assert len(rows) % 20 == 0
        assert reasons(rejected) == [(len(rows) + 1, "unreadable-file")]
        assert len(rows) or "rows before" not in rejected[0].detail


@pytest.mark.parametrize("name", ["snappy.parquet", "file.arrow"])
def test_a_file_without_its_end_is_one_rejected_row(name: str, tmp_path: Path) -> None:
    rows, rejected = read_bytes(tmp_path, name, FILES[name][:-20])
    assert not rows
    assert reasons(rejected) == [(1, "unreadable-file")]


@pytest.mark.parametrize("name", ["a.parquet", "file.arrow", "stream.arrow"])
def test_a_value_that_is_no_utf8_rejects_its_row_alone(name: str, tmp_path: Path) -> None:
    texts = pa.array([b"good", b"\xc3\xa9\xff", None, b"too"]).view(pa.string())
    table = pa.table({"id": ["a", "b", "c", "d"], "text": texts})
    content = parquet(table) if name == "a.parquet" else arrow(table, stream=name == "stream.arrow")
    rows, rejected = read_bytes(tmp_path, name, content)
    assert [(row.id, row.fields["text"]) for row in rows] == [("a", "good"), ("c", None), ("d", "too")]
    assert [(each.id, each.row, each.reason) for each in rejected] == [("b", 2, "undecodable")]
    assert "\\xff" in rejected[0].text


def test_columns_with_the_same_name_are_kept_apart(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["one"]), pa.array(["two"])], names=["text", "text"])
    rows, _ = read_bytes(tmp_path, "a.arrow", arrow(table, stream=True), columns=["text"])
    assert dict(rows[0].fields) == {"text": "one", "text (2)": "two"}


@pytest.mark.parametrize("name", ["snappy.parquet", "file.arrow", "stream.arrow"])
def test_a_name_that_is_no_utf8_is_damage_like_any_other(name: str, tmp_path: Path) -> None:
    rows, rejected = read_bytes(tmp_path, name, FILES[name].replace(b"more", b"m\xffre"))
    assert not rows
    assert {each.reason for each in rejected} == {"unreadable-file"}


def test_a_table_without_rows_gives_none(tmp_path: Path) -> None:
    assert read_bytes(tmp_path, "a.parquet", parquet(TABLE.slice(0, 0))) == ([], [])


def test_a_date_that_python_cannot_hold_rejects_its_row_alone(tmp_path: Path) -> None:
    table = pa.table({"id": ["a", "b"], "at": pa.array([0, 2**60]).cast(pa.timestamp("ms"))})
    rows, rejected = read_bytes(tmp_path, "a.parquet", parquet(table))
    assert [row.id for row in rows] == ["a"]
    assert [(each.id, each.reason, each.detail) for each in rejected] == [
        ("b", "undecodable", "a.parquet, row 2: 'at' is nothing that can be read")
    ]
