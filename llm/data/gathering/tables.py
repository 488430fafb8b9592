"""The tables of a part and of what was left out: Parquet, written in small row groups so that readers hold little at a time."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llm.data.cleaning.shingles import Hashes, Places

KEPT: Final = pa.schema(
    [
        ("place", pa.int64()),
        ("id", pa.string()),
        ("source", pa.string()),
        ("row", pa.int64()),
        ("text", pa.string()),
        ("digest", pa.binary(16)),
    ]
)
REJECTED: Final = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("row", pa.int64()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("text", pa.string()),
    ]
)
FINDINGS: Final = pa.schema(
    [("id", pa.string()), ("kind", pa.string()), ("start", pa.int64()), ("end", pa.int64()), ("field", pa.string())]
)
_PLACE: Final = pa.field("place", pa.int64())  # of a row among all of its part, kept or not
REJECTED_PLACED: Final = pa.schema([_PLACE, *REJECTED])
FINDINGS_PLACED: Final = pa.schema([_PLACE, *FINDINGS])

_HELD_ROWS, _HELD_BYTES = 4096, 1 << 20
_FEW_VALUES: Final = ("source", "kind", "field", "reason")


def signature_schema(bands: int) -> pa.Schema:
    """owner: which of the part's kept documents, from 0."""
    return pa.schema([("owner", pa.int64()), *((band_name(band), pa.uint64()) for band in range(bands))])


def band_name(band: int) -> str:
    return f"band{band:02d}"


class Table:
    """A Parquet file that is written row by row, or column by column."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        packed = {name: "zstd" if pa.types.is_string(schema.field(name).type) else "none" for name in schema.names}
        few = [name for name in schema.names if name in _FEW_VALUES]
        self._file = pq.ParquetWriter(path, schema, compression=packed, use_dictionary=few, write_statistics=False)
        self._held: list[tuple[Any, ...]] = []
        self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self._flush()
        self._file.close()

    def add(self, row: tuple[Any, ...], size: int = 64) -> None:
        """A row of the schema's columns. size: of its texts, about."""
        self._held.append(row)
        self._bytes += size
        if self._bytes >= _HELD_BYTES or len(self._held) >= _HELD_ROWS:
            self._flush()

    def add_columns(self, columns: Sequence[Any]) -> None:
        """A row group, as sequences or arrays in the order of the schema."""
        arrays = [_array(column, field.type) for column, field in zip(columns, self._schema, strict=True)]
        table = pa.Table.from_arrays(arrays, schema=self._schema)
        if table.num_rows:
            self._file.write_table(table, row_group_size=table.num_rows)

    def _flush(self) -> None:
        if self._held:
            self.add_columns(list(zip(*self._held, strict=True)))
            self._held, self._bytes = [], 0


def row_groups(path: Path, columns: Sequence[str]) -> Iterator[list[list[Any]]]:
    """The columns of one row group after the other, as Python's own values."""
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=list(columns), use_threads=False)
            yield [table.column(name).to_pylist() for name in columns]


def digests(path: Path) -> Hashes:
    """(n, 2): the digests of the kept documents, in two halves."""
    column = pq.read_table(path, columns=["digest"], use_threads=False).column("digest")
    chunks = [
        np.frombuffer(chunk.buffers()[1], np.uint64, len(chunk) * 2, chunk.offset * 16) for chunk in column.chunks if len(chunk)
    ]
    return np.concatenate([np.zeros(0, np.uint64), *chunks]).reshape(-1, 2)


def band(path: Path, number: int) -> tuple[Places, Hashes]:
    """Whose signatures there are, and a band of each."""
    table = pq.read_table(path, columns=["owner", band_name(number)], use_threads=False)
    return table.column(0).to_numpy(), table.column(1).to_numpy()


def total(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Counts by name, added up, in the order of names."""
    added: dict[str, int] = {}
    for each in counts:
        for name, count in each.items():
            added[name] = added.get(name, 0) + count
    return dict(sorted(added.items()))


def _array(values: Any, kind: pa.DataType) -> pa.Array:
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:  # half a surrogate pair, in what was turned away
        return pa.array([value.encode("utf-8", "backslashreplace").decode() for value in values], kind)
