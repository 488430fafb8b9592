"""What the tests of reading share: a file written and read, and its rows and rejections apart."""

import bz2
import gzip
import lzma
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import zstandard

from llm.data.reading.inspect import inspect
from llm.data.reading.rows import read
from llm.data.rows import Rejected, Row

PACK: Final[dict[str, Callable[[bytes], bytes]]] = {
    "": bytes,
    "gz": gzip.compress,
    "zst": zstandard.ZstdCompressor(write_checksum=True).compress,  # as its own tool does
    "bz2": lambda content: bz2.compress(content, 1),  # blocks of 100 kB
    "xz": lambda content: lzma.compress(content, preset=0),
}


def read_bytes(folder: Path, name: str, content: bytes, **options: Any) -> tuple[list[Row], list[Rejected]]:
    """(rows, rejected) of one file in a folder of its own."""
    inside = folder / f"of-{name}"
    inside.mkdir(exist_ok=True)
    (inside / name).write_bytes(content)
    return read_path(inside, **options)


def read_path(path: Path | str, **options: Any) -> tuple[list[Row], list[Rejected]]:
    items = list(read(inspect(str(path)), **options))
    return [item for item in items if isinstance(item, Row)], [item for item in items if isinstance(item, Rejected)]


def read_text(folder: Path, content: bytes) -> tuple[str, list[tuple[int, str]], Counter[str]]:
    """(text, rejected lines with their reasons, lines by encoding) of a text file."""
    encodings = Counter[str]()
    rows, rejected = read_bytes(folder, "a.txt", content, encodings=encodings)
    return "".join(row.fields["text"] for row in rows), [(each.row, each.reason) for each in rejected], encodings


def reasons(rejected: list[Rejected]) -> list[tuple[int, str]]:
    return [(each.row, each.reason) for each in rejected]
