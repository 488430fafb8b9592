"""Files in parts, so that several workers can read one of them: how it is cut changes no row and no number."""

from collections.abc import Iterator

from llm.data.reading.columnar_rows import row_groups
from llm.data.reading.encodings import BINARY, is_wide
from llm.data.reading.found import Found, FoundFile, Span
from llm.data.reading.rows import local_path
from llm.data.reading.unpack import UnreadableError, chunks


def spans(found: Found, bytes_each: int = 64_000_000) -> list[Span]:
    """The parts of all files, in order, of about so many bytes: lines of a plain .jsonl, row groups of a plain Parquet file.

    Anything else is one part. To number the rows, the lines of a .jsonl that is cut are counted: it is read through once.
    """
    return [span for file in found.files for span in _cut(file, bytes_each)]


def _cut(file: FoundFile, bytes_each: int) -> list[Span]:
    if file.bytes <= bytes_each or file.packed or file.encoding == BINARY:
        return [Span(file)]
    if file.format == "jsonl" and not is_wide(file.encoding):
        return list(_line_spans(file, bytes_each)) or [Span(file)]
    if file.format == "parquet":
        return list(_group_spans(file, bytes_each)) or [Span(file)]
    return [Span(file)]


def _line_spans(file: FoundFile, bytes_each: int) -> Iterator[Span]:
    start = place = lines = 0
    first = 1
    try:
        for chunk in chunks(local_path(file), ""):
            searched = 0
            while True:
                end = chunk.find(b"\n", max(searched, start + bytes_each - 1 - place))
                if end < 0:
                    break
                lines += chunk.count(b"\n", searched, end + 1)
                yield Span(file, "lines", start, place + end + 1, first)
                start, first, searched = place + end + 1, lines + 1, end + 1
            lines += chunk.count(b"\n", searched)
            place += len(chunk)
    except UnreadableError:
        place = file.bytes  # whoever reads the last part says so
    if place > start:
        yield Span(file, "lines", start, place, first)


def _group_spans(file: FoundFile, bytes_each: int) -> Iterator[Span]:
    try:
        groups = row_groups(local_path(file))
    except UnreadableError:
        return
    start, first, rows, held = 0, 1, 0, 0
    for place, (more, size) in enumerate(groups, start=1):
        rows, held = rows + more, held + size
        if held >= bytes_each or place == len(groups):
            yield Span(file, "groups", start, place, first)
            start, first, rows, held = place, first + rows, 0, 0
