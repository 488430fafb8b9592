"""Records of .csv and .tsv: a broken one is turned away alone, whatever its quotes say about the lines that follow.

A record may go on over several lines where a quoted field does. It is taken for one only if it then closes with as many columns as
the header has; else its first line is rejected, and the next line begins a record of its own.
"""

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

from llm.data.reading.encodings import UNDECODABLE, LineDecoder, shown
from llm.data.reading.origin import Origin, unlike
from llm.data.reading.unpack import UnreadableError
from llm.data.rows import Rejected, Row

_LONGEST: Final = 8_000_000  # characters of one record: beyond, a quote was not closed
_SEPARATORS: Final = {"csv": ",;\t|", "tsv": "\t,;|"}

_QUOTED: Final = re.compile(r' +".*" *', re.DOTALL)
_CLOSING: Final = re.compile(r'[^"]*(?:""[^"]*)*"(?!")')

csv.field_size_limit(_LONGEST)


def table_rows(lines: Iterable[bytes], decoder: LineDecoder, form: str, origin: Origin) -> Iterator[Row | Rejected]:
    """A row a record, numbered by the record's first line; a line without any field in it is no record.

    Raises UnreadableError for a file without a header.
    """
    text = _Lines(lines, decoder, origin)
    header: _Header | None = None
    while (line := text.take()) is not None:
        number, content = line
        if isinstance(content, Rejected):
            if header is None:
                raise UnreadableError(f"its header, line {number}, cannot be decoded", "Mend the header.")
            yield content
        elif not content.strip(" \r\n"):
            continue
        elif header is None:
            header = _Header.find(content, form)
        else:
            yield _record(number, content, header, text, origin)


class _Header:
    """The columns, and how they are separated."""

    def __init__(self, separator: str, fields: list[str]) -> None:
        self.separator, self.fields = separator, [field.strip() for field in fields]
        self.columns = unlike(self.fields)
        mark = re.escape(separator)
        self._apart = re.compile(rf'(^|{mark}) +"|" +($|{mark})')  # quotes with spaces between them and the separators
        self._before, self._after = re.compile(rf'(^|{mark}) +(?=")'), re.compile(rf'" +(?=$|{mark})')

    @classmethod
    def find(cls, line: str, form: str) -> "_Header":
        """By the separator that makes most columns of the line; in a .tsv by the tab, if it has any."""
        used = [separator for separator in _SEPARATORS[form] if separator in line] or [_SEPARATORS[form][0]]
        found = [(separator, fields) for separator in used if (fields := _split(line, separator)[0]) is not None]
        if not found:
            raise UnreadableError("its header's quotes are broken", "Mend the header.")
        return cls(*(found[0] if form == "tsv" else max(found, key=lambda each: len(each[1]))))

    def split(self, line: str) -> tuple[list[str] | None, bool]:
        """As `_split`; what was aligned for the eye, with spaces between quotes and separators, without them."""
        if '"' not in line:
            return line.rstrip("\r\n").split(self.separator), False
        fields, is_open = _split(line, self.separator)
        wrong = fields is None or len(fields) != len(self.columns) or any(map(_QUOTED.fullmatch, fields))
        if wrong and not is_open and self._apart.search(line):
            close = self._after.sub('"', self._before.sub(r"\1", line.strip(" \r\n")))
            aligned, _ = _split(close, self.separator)
            if self.fits(aligned):
                return [field.strip(" ") for field in aligned or ()], False
        return fields, is_open

    def fits(self, fields: list[str] | None) -> bool:
        return fields is not None and len(fields) == len(self.columns)


class _Lines:
    """Numbered lines, decoded, that can be looked at before they are taken."""

    def __init__(self, lines: Iterable[bytes], decoder: LineDecoder, origin: Origin) -> None:
        self._lines, self._ahead = self._decoded(lines, decoder, origin), deque[tuple[int, str | Rejected]]()

    def take(self) -> tuple[int, str | Rejected] | None:
        return self._ahead.popleft() if self._ahead else next(self._lines, None)

    def ahead(self) -> Iterator[str]:
        """The lines that come next, up to one that cannot be decoded; they stay."""
        for _, content in chain(tuple(self._ahead), self._further()):
            if isinstance(content, Rejected):
                return
            yield content

    def _further(self) -> Iterator[tuple[int, str | Rejected]]:
        for line in self._lines:
            self._ahead.append(line)
            yield line

    @staticmethod
    def _decoded(lines: Iterable[bytes], decoder: LineDecoder, origin: Origin) -> Iterator[tuple[int, str | Rejected]]:
        for number, line in enumerate(lines, start=1):
            text = decoder.decode(line)
            if text is None:
                yield number, origin.rejected(number, "undecodable", UNDECODABLE, shown(line))
            else:
                yield number, text


def _record(number: int, line: str, header: _Header, text: _Lines, origin: Origin) -> Row | Rejected:
    fields, is_open = header.split(line)
    if is_open:
        fields = _continued(line, header, text)
    if fields is None and header.separator == "\t":
        fields = line.rstrip("\r\n").split("\t")  # to most that write .tsv, a quote is a character like any other
    shown_line = line.rstrip("\r\n")
    if fields is None:
        return origin.rejected(number, "bad-quotes", "a quote that is not closed, or text behind one", shown_line)
    if not header.fits(fields):
        detail = f"{len(fields)} column{'s' * (len(fields) != 1)}, where the header has {len(header.columns)}"
        return origin.rejected(number, "wrong-columns", detail, shown_line)
    if [field.strip() for field in fields] == header.fields:
        return origin.rejected(number, "wrong-columns", "the header again", shown_line)
    return origin.row(number, dict(zip(header.columns, fields, strict=True)))


def _continued(line: str, header: _Header, text: _Lines) -> list[str] | None:
    """The fields of a record that goes on over the next lines, which it then takes; None where it does not close well."""
    parts, length = [line], len(line)
    for taken, more in enumerate(text.ahead(), start=1):
        parts.append(more)
        length += len(more)
        if length > _LONGEST:
            return None
        closing = _CLOSING.match(more)
        if closing is None:
            continue
        rest = more[closing.end() :]
        if rest.startswith(header.separator) and _split(rest, header.separator)[1]:
            continue  # and another field of it opens
        fields, _ = header.split("".join(parts))
        if fields is None or not header.fits(fields):
            return None
        for _ in range(taken):
            text.take()
        return fields
    return None


def _split(line: str, separator: str) -> tuple[list[str] | None, bool]:
    """(the fields, or None where the quotes are wrong; whether the last quote is not closed: the record may go on)."""
    try:
        return next(csv.reader([line], delimiter=separator, strict=True), []), False
    except csv.Error as error:
        return None, str(error) == "unexpected end of data"
