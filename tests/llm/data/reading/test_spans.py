"""Parts of files: however a file is cut, its parts give its rows, with the same numbers and ids."""

import gzip
import json
import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.data.reading.found import Found
from llm.data.reading.inspect import inspect
from llm.data.reading.rows import read, read_span
from llm.data.reading.spans import spans
from llm.data.rows import Rejected, Row

LINES = [json.dumps({"n": n, "text": "é" * (n % 50)}) if n % 7 else ("" if n % 2 else "bad") for n in range(200)]


def in_parts(found: Found, bytes_each: int) -> list[Row | Rejected]:
    return [item for span in spans(found, bytes_each) for item in read_span(pickle.loads(pickle.dumps(span)))]


@pytest.mark.parametrize("bytes_each", [1, 10, 100, 1000, 5000, 10**9])
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_the_parts_of_a_jsonl_give_its_rows(end: str, bytes_each: int, tmp_path: Path) -> None:
    content = (end or "\n").join(LINES) + end
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + content.encode())
    found = inspect(str(tmp_path))
    whole = list(read(found))
    assert len(whole) == sum(bool(line) for line in LINES)
    assert in_parts(found, bytes_each) == whole
    longest = max(map(len, content.encode().splitlines(keepends=True)))
    assert all(bytes_each <= span.stop - span.start < bytes_each + longest for span in spans(found, bytes_each)[:-1])


@given(
    content=st.lists(st.sampled_from([b"\n", b'{"a": 1}\n', b"x\n", b"\r\n", b'{"a"']), max_size=30).map(b"".join),
    size=st.integers(1, 40),
)
def test_any_lines_cut_anywhere_give_the_same_rows(content: bytes, size: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("lines")
    (folder / "a.jsonl").write_bytes(content)
    (folder / "b.txt").write_text("text")
    found = inspect(str(folder))
    assert in_parts(found, size) == list(read(found))


@pytest.mark.parametrize("bytes_each", [1, 500, 3000, 10**9])
def test_the_parts_of_a_parquet_file_give_its_rows(bytes_each: int, tmp_path: Path) -> None:
    table = pa.table({"id": [f"r{n}" for n in range(100)], "text": [f"{n} " * n for n in range(100)]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=7)
    found = inspect(str(tmp_path))
    assert in_parts(found, bytes_each) == list(read(found))
    assert len(spans(found, 1)) == 15


def test_a_damaged_row_group_is_rejected_by_the_part_that_holds_it(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [f"{n} " * n for n in range(100)]}), tmp_path / "a.parquet", row_group_size=10)
    start = pq.read_metadata(tmp_path / "a.parquet").row_group(3).column(0).data_page_offset
    content = bytearray((tmp_path / "a.parquet").read_bytes())
    content[start : start + 30] = b"\xff" * 30
    (tmp_path / "a.parquet").write_bytes(content)
    found = inspect(str(tmp_path))
    items = in_parts(found, 1)
    assert items == list(read(found))
    assert [item.row for item in items if isinstance(item, Rejected)] == [31]
    assert len(items) == 91


def test_what_cannot_be_cut_is_one_part(tmp_path: Path) -> None:
    rows = ("\n".join(LINES)).encode()
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(rows))
    (tmp_path / "b.jsonl").write_bytes(b"\xef\xbb\xbf".decode().encode("utf-16") + "\n".join(LINES).encode("utf-16-le"))
    (tmp_path / "c.csv").write_bytes(b"text,n\n" + b'"two\nlines",1\n' * 50)
    (tmp_path / "d.txt").write_bytes(rows)
    (tmp_path / "e.jsonl").write_bytes(bytes(range(256)) * 9)
    found = inspect(str(tmp_path))
    assert [(span.file.name, span.part) for span in spans(found, 10)] == [(file.name, "whole") for file in found.files]
    assert in_parts(found, 10) == list(read(found))


def test_a_part_is_known_by_its_content_wherever_the_file_lies(tmp_path: Path) -> None:
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{folder}.jsonl").write_text("\n".join(LINES))
    here, there = ([span.identity for span in spans(inspect(str(tmp_path / folder)), 1000)] for folder in ("here", "there"))
    assert here == there
    assert len(set(here)) == len(here) > 3
