"""A .json file: one list of rows, or values one after the other, parsed while it is read.

A value that is no JSON is left out up to the next line that begins as the first row's line did; where rows have no lines of their
own, nobody can tell where the next one begins, and the rest is left out.
"""

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Final

from llm.data.reading.encodings import UNDECODABLE, LineDecoder
from llm.data.reading.json_rows import JsonParser, jsonl_rows, value_row
from llm.data.reading.lines import lines
from llm.data.reading.origin import Origin
from llm.data.rows import Rejected, Row

_BUFFER: Final = 1 << 20
_NEAR_END: Final = 32  # characters: true, null or a number may be cut there
_SHOWN: Final = 10_000  # characters of what is left out that are kept to look at
_OVERLAP: Final = 4096  # characters that the beginning of a row's line may take
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def json_rows(chunks: Iterable[bytes], decoder: LineDecoder, origin: Origin) -> Iterator[Row | Rejected]:
    """Rows of a list, or of an object a line: the first characters tell."""
    stream = iter(chunks)
    head = b""
    for chunk in stream:
        head += chunk
        if head.strip():
            break
    line = head.lstrip().partition(b"\n")[0]
    whole = chain([head], stream)
    if line.startswith(b"[") or (line.startswith(b"{") and not _is_json(line)):
        yield from list_rows(_texts(whole, decoder), origin)
    else:
        yield from jsonl_rows(lines(whole), decoder, replace(origin, unit="line"))


def list_rows(pieces: Iterator[str], origin: Origin) -> Iterator[Row | Rejected]:
    """The rows of a list, numbered from 1. pieces: the text; bytes that could not be decoded stand in it as lone surrogates."""
    text = _Buffer(pieces)
    text.skip_blank()
    in_list = text.take("[")
    text.skip_blank()
    next_row = _line_of_first(text)
    parser, number = JsonParser(), 0
    while not text.at_end():
        if in_list and text.take("]"):
            text.skip_blank()
            if not text.at_end():
                yield origin.rejected(number + 1, "not-json", "more text after the end of the list", _shown(text.skip_to(None)))
            return
        number += 1
        try:
            value, problem, raw = text.parse(parser)
        except (ValueError, RecursionError) as error:
            why = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            left_out = _shown(text.skip_to(next_row))
            if text.at_end():
                yield origin.rejected(number, "not-json", f"{why}; the rest of the file is left out", left_out)
                return
            yield origin.rejected(number, "not-json", why, left_out)
        else:
            yield _checked(value, problem, number, raw, origin)
        text.skip_blank()
        if in_list and text.take(","):
            text.skip_blank()
    if in_list:
        yield origin.rejected(number + 1, "not-json", "the list has no end: the file was cut")


def _checked(value: object, problem: str, number: int, raw: str, origin: Origin) -> Row | Rejected:
    if _SURROGATE.search(raw):
        return origin.rejected(number, "undecodable", UNDECODABLE, _shown(raw))
    return value_row(value, problem, number, raw, origin)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _texts(chunks: Iterable[bytes], decoder: LineDecoder) -> Iterator[str]:
    """The text in pieces; bytes that cannot be decoded as lone surrogates."""
    if decoder.knows_utf8_alone:  # a list may be one long line
        incremental = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        yield from map(incremental.decode, chunks)
        yield incremental.decode(b"", final=True)
        return
    for line in lines(chunks):
        text = decoder.decode(line)
        yield line.decode("utf-8", "surrogateescape") if text is None else text


def _shown(text: str) -> str:
    """With the bytes that could not be decoded as escapes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _line_of_first(text: "_Buffer") -> re.Pattern[str]:
    """Where the next row's line begins: indented as the first row's."""
    line = text.before().rpartition("\n")
    indent = line[2] if line[1] and not line[2].strip(" \t") else ""
    return re.compile(rf"\n{indent}(?={{)")


class _Buffer:
    """The part of a text that is being looked at, from `at` on."""

    def __init__(self, pieces: Iterator[str]) -> None:
        self._pieces, self._text = pieces, ""
        self.at = 0

    def parse(self, parser: JsonParser) -> tuple[object, str, str]:
        """The value that begins here, its problem, and what it was parsed from. Raises ValueError or RecursionError."""
        if self.at > _BUFFER:
            self._text, self.at = self._text[self.at :], 0
        while True:
            try:
                value, end, problem = parser.parse(self._text, self.at)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated string") or error.pos + _NEAR_END > len(self._text)
                if not cut or not self._more():
                    raise
                continue
            if end == len(self._text) and self._more():
                continue  # a number may go on
            start, self.at = self.at, end
            return value, problem, self._text[start:end]

    def take(self, mark: str) -> bool:
        if self.at_end() or self._text[self.at] != mark:
            return False
        self.at += 1
        return True

    def at_end(self) -> bool:
        return self.at >= len(self._text) and not self._more()

    def before(self) -> str:
        return self._text[: self.at]

    def skip_blank(self) -> None:
        while not self.at_end() and self._text[self.at] in " \t\r\n":
            self.at += 1

    def skip_to(self, place: re.Pattern[str] | None) -> str:
        """Goes on behind the place, or to the end where it does not come; returns the beginning of what is left out."""
        left_out = ""
        while True:
            if match := place and place.search(self._text, self.at):
                left_out += self._text[self.at : match.start()][: _SHOWN - len(left_out)]
                self.at = match.end()
                return left_out
            end = max(self.at, len(self._text) - _OVERLAP)
            left_out += self._text[self.at : end][: _SHOWN - len(left_out)]
            self._text, self.at = self._text[end:], 0
            if not self._more():
                left_out += self._text[: _SHOWN - len(left_out)]
                self.at = len(self._text)
                return left_out

    def _more(self) -> bool:
        """Reads as much again as there is. False at the end of the text."""
        wanted, read = max(_BUFFER, len(self._text) - self.at), [self._text]
        for piece in self._pieces:
            read.append(piece)
            wanted -= len(piece)
            if wanted <= 0:
                break
        if len(read) == 1:
            return False
        self._text = "".join(read)
        return True
