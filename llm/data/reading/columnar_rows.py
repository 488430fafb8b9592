"""Rows of Parquet and Arrow files: a few megabytes at a time, each value checked before it is looked at."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from llm.data.reading.origin import Origin, unlike
from llm.data.reading.unpack import UnreadableError
from llm.data.rows import Rejected, Row

_AT_ONCE: Final = 4_000_000  # bytes, as the file counts them
_FILE_START: Final = b"ARROW1"
_STREAM_END: Final = b"\xff\xff\xff\xff\0\0\0\0"  # of a whole Arrow stream (Arrow columnar format, "IPC Streaming Format")
_RAW: Final = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}


def row_groups(path: Path) -> list[tuple[int, int]]:
    """(rows, bytes unpacked) of each row group of a Parquet file. Raises UnreadableError."""
    with _damage("damaged: not a whole Parquet file, as its name says"):
        known = pq.read_metadata(path)
        groups = [known.row_group(place) for place in range(known.num_row_groups)]
        return [(group.num_rows, group.total_byte_size) for group in groups]


def parquet_rows(
    path: Path, origin: Origin, columns: Sequence[str] = (), groups: range | None = None, first: int = 1
) -> Iterator[Row | Rejected]:
    """The rows of some row groups (None: of all). first: the number of the first one's first row.

    columns: these alone are read, and the id's. A damaged row group is one rejected row with its place, and the next one
    is read on. Raises UnreadableError where nothing can be read.
    """
    with _damage("damaged: not a whole Parquet file, as its name says"):
        file = pq.ParquetFile(path, page_checksum_verification=True)
        wanted = _wanted(file.schema_arrow, columns, origin)
    with file:
        for group in groups if groups is not None else range(file.num_row_groups):
            with _damage(f"row group {group} is damaged"):
                known = file.metadata.row_group(group)
                rows, step = known.num_rows, _rows_at_once(known.num_rows, known.total_byte_size)
            read = 0
            try:
                with _damage(f"row group {group} is damaged"):
                    batches = file.iter_batches(step, row_groups=[group], columns=wanted, use_threads=False)
                for batch in _guarded(batches, f"row group {group} is damaged"):
                    yield from _batch_rows(batch, first + read, origin)
                    read += batch.num_rows
            except UnreadableError as error:
                detail = f"{error.what}: rows {first + read:,} to {first + rows - 1:,} are lost"
                yield origin.rejected(first + read, "unreadable-file", detail)
            first += max(rows, read)


def arrow_rows(path: Path, origin: Origin, columns: Sequence[str] = ()) -> Iterator[Row | Rejected]:
    """The rows of an Arrow file or stream. A damaged batch of a file is one rejected row, and the next is read on.

    Raises UnreadableError where nothing can be read, and at the place where a stream breaks off.
    """
    with _damage("damaged: no Arrow data, as its name says"):
        source = pa.OSFile(str(path))  # mapped pages would count as memory held
    with source:
        end = source.read_at(len(_STREAM_END), max(0, source.size() - len(_STREAM_END)))
        start = source.read_at(len(_FILE_START), 0)
        source.seek(0)
        if start == _FILE_START:
            yield from _arrow_file(source, origin, columns)
        else:
            yield from _arrow_stream(source, origin, columns)
            if end != _STREAM_END:
                raise UnreadableError("truncated: it does not end as an Arrow stream does")


def _arrow_file(source: Any, origin: Origin, columns: Sequence[str]) -> Iterator[Row | Rejected]:
    with _damage("damaged: not a whole Arrow file"):
        file = pa.ipc.open_file(source)
        wanted = _wanted(file.schema, columns, origin)
    number = 1
    for place in range(file.num_record_batches):
        try:
            with _damage(f"record batch {place} is damaged"):
                batch = file.get_batch(place)
        except UnreadableError as error:
            yield origin.rejected(number, "unreadable-file", f"{error.what}: its rows are lost")
            number += 1
        else:
            yield from _batch_rows(batch if wanted is None else batch.select(wanted), number, origin)
            number += batch.num_rows


def _arrow_stream(source: Any, origin: Origin, columns: Sequence[str]) -> Iterator[Row | Rejected]:
    with _damage("damaged: no Arrow stream, as its name says"):
        stream = pa.ipc.open_stream(source)
        wanted = _wanted(stream.schema, columns, origin)
    number = 1
    for batch in _guarded(stream, "damaged: the next batch of rows cannot be read"):
        yield from _batch_rows(batch if wanted is None else batch.select(wanted), number, origin)
        number += batch.num_rows


def _batch_rows(batch: Any, number: int, origin: Origin) -> Iterator[Row | Rejected]:
    names = unlike(batch.schema.names)
    step = _rows_at_once(batch.num_rows, batch.get_total_buffer_size())  # `nbytes` trusts unchecked offsets
    for start in range(0, batch.num_rows, step):
        piece = batch.slice(start, step)
        wrong: dict[int, str] = {}
        try:
            columns = [_values(column, name, wrong) for column, name in zip(piece.columns, names, strict=True)]
        except _ERRORS:
            detail = f"damaged: rows {number + start:,} to {number + start + piece.num_rows - 1:,} are lost"
            yield origin.rejected(number + start, "unreadable-file", detail)
            continue
        for place in range(piece.num_rows):
            fields = {name: column[place] for name, column in zip(names, columns, strict=True)}
            if place in wrong:
                text = "\n".join(str(value) for value in fields.values())
                yield origin.rejected(
                    number + start + place, "undecodable", f"{wrong[place]!r} is nothing that can be read", text, fields
                )
            else:
                yield origin.row(number + start + place, fields)


def _values(column: Any, name: str, wrong: dict[int, str]) -> list[Any]:
    """The values as Python's own. wrong: is told the rows whose value cannot be had, None or the raw bytes stand for it."""
    try:
        column.validate(full=True)
        values: list[Any] = column.to_pylist()
        return values
    except _ERRORS:
        raw = column.view(_RAW[column.type]) if column.type in _RAW else column
        raw.validate(full=True)
    values = []
    for place, scalar in enumerate(raw):
        try:
            value = scalar.as_py()
            values.append(value.decode() if raw is not column and value is not None else value)
        except _ERRORS:
            values.append(scalar.as_py() if raw is not column else None)
            wrong.setdefault(place, name)
    return values


def _wanted(schema: Any, columns: Sequence[str], origin: Origin) -> list[str] | None:
    """The columns to read, in the file's order; None for all, also where those asked for are not there: the caller has to tell."""
    if not set(columns) <= set(schema.names) or len(set(schema.names)) < len(schema.names):
        return None
    return [name for name in schema.names if name in columns or name == origin.id_column] if columns else None


def _rows_at_once(rows: int, size: int) -> int:
    return max(1, min(1000, rows * _AT_ONCE // max(1, size)))


# What pyarrow raises over damaged bytes is not told: any of these, and a MemoryError where a damaged length is taken at its word.
_ERRORS: Final = (
    pa.ArrowException,
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    MemoryError,
    AttributeError,
)


@contextmanager
def _damage(what: str) -> Iterator[None]:
    try:
        yield
    except _ERRORS:
        raise UnreadableError(what) from None


def _guarded(batches: Any, what: str) -> Iterator[Any]:
    iterator = iter(batches)
    while True:
        with _damage(what):
            batch = next(iterator, None)
        if batch is None:
            return
        yield batch
