"""Rows as files hold them: each is given, or rejected with its place. What is wrong with a file is never an error here.

Memory is bounded by the longest line, record or batch; a text file, which is one row, is held whole.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from infra.store import open_store
from llm.data.reading.address import HubAddress, parse_address
from llm.data.reading.columnar_rows import arrow_rows, parquet_rows
from llm.data.reading.encodings import BINARY, NO_TEXT, LineDecoder, as_utf8
from llm.data.reading.formats import TABLES, TEXT
from llm.data.reading.found import Found, FoundFile, Span
from llm.data.reading.hub import hub_rows
from llm.data.reading.json_list import json_rows
from llm.data.reading.json_rows import jsonl_rows
from llm.data.reading.lines import any_lines, lines
from llm.data.reading.origin import Origin
from llm.data.reading.table_rows import table_rows
from llm.data.reading.text_rows import text_rows
from llm.data.reading.unpack import UnreadableError, chunks, unpacked_file
from llm.data.rows import Rejected, Row
from llm.data.stdlib import file_documentation

_UNITS = dict.fromkeys(("txt", "md", "jsonl", "csv", "tsv"), "line")


def read(
    found: Found, *, id_column: str = "id", columns: Sequence[str] = (), encodings: Counter[str] | None = None
) -> Iterator[Row | Rejected]:
    """The rows of all files, in the order of their names; arguments as `read_file` takes them."""
    for file in found.files:
        yield from read_file(file, id_column=id_column, columns=columns, encodings=encodings)


def read_file(
    file: FoundFile,
    *,
    id_column: str = "id",
    columns: Sequence[str] = (),
    start: int = 0,
    encodings: Counter[str] | None = None,
) -> Iterator[Row | Rejected]:
    """The rows of a file that come after row `start`, in its order.

    columns: these alone are wanted, and the id's; a format that can leaves the others unread. encodings: is told how many lines are
    in which. Raises StoreError where the store that holds the file cannot be reached, and InputError where the hub cannot.
    """
    for item in read_span(Span(file), id_column=id_column, columns=columns, encodings=encodings):
        if (item.number if isinstance(item, Row) else item.row) > start:
            yield item


def read_span(
    span: Span, *, id_column: str = "id", columns: Sequence[str] = (), encodings: Counter[str] | None = None
) -> Iterator[Row | Rejected]:
    """The same of a part of a file."""
    file = span.file
    origin = Origin(file.name, id_column, _UNITS.get(file.format, "row"))
    number, given = span.first - 1, 0
    try:
        for item in _rows(span, origin, columns, encodings if encodings is not None else Counter()):
            number = item.number if isinstance(item, Row) else item.row
            given += 1
            yield item
    except UnreadableError as error:
        yield origin.unreadable(number + 1, error.what, given)


def peek(found: Found, n: int = 20) -> list[Row]:
    """The first good rows, from as many files as it takes."""
    return list(islice((item for item in read(found) if isinstance(item, Row)), n))


def local_path(file: FoundFile) -> Path:
    """The file on this machine, fetched from its store where it is not."""
    address = file.location
    if not address.startswith("s3://"):
        return Path(address)
    bucket, _, name = address.removeprefix("s3://").partition("/")
    return open_store(f"s3://{bucket}").get_file(name)


def _rows(span: Span, origin: Origin, columns: Sequence[str], encodings: Counter[str]) -> Iterator[Row | Rejected]:
    file = span.file
    if file.format == "stdlib":
        for number, (name, module, text) in enumerate(file_documentation(file.name), start=1):
            yield Row(name, module, number, {"text": text})
        return
    if file.format == "hub":
        address = parse_address(file.location)
        assert isinstance(address, HubAddress)
        yield from hub_rows(address, origin, columns)
        return
    path = local_path(file)
    _check_unchanged(path, file)
    if file.format == "parquet":
        groups = range(span.start, span.stop) if span.part == "groups" else None
        with unpacked_file(path, file.packed) as plain:
            yield from parquet_rows(plain, origin, columns, groups, span.first)
        return
    if file.format == "arrow":
        with unpacked_file(path, file.packed) as plain:
            yield from arrow_rows(plain, origin, columns)
        return
    if file.encoding == BINARY:
        raise UnreadableError(NO_TEXT, "Give text, or leave the file out.")
    stream = chunks(path, file.packed, span.start, span.stop if span.part == "lines" else None)
    if file.format in TEXT:
        yield from text_rows(stream, origin, encodings)
        return
    decoder = LineDecoder(file.encoding)
    stream = stream if span.start else as_utf8(stream, file.encoding)
    try:
        if file.format in TABLES:
            yield from table_rows(any_lines(stream), decoder, file.format, origin)
        elif file.format == "json":
            yield from json_rows(stream, decoder, origin)
        else:
            yield from jsonl_rows(lines(stream), decoder, origin, span.first)
    finally:
        encodings.update(decoder.tally())


def _check_unchanged(path: Path, file: FoundFile) -> None:
    """A file that grows while it is read would give rows that its version does not speak of."""
    try:
        changed = path.stat().st_size != file.bytes
    except OSError as error:
        raise UnreadableError(f"cannot be read ({error.strerror})", "Check the file and its permissions.") from None
    if changed and file.sha256:
        raise UnreadableError("changed since it was looked at", "Run again when nobody writes it.")
