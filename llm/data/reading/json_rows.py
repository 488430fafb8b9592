"""Rows of JSON: an object a line, or one list of objects. Strict: what two readers would read differently is turned away."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from llm.data.reading.encodings import UNDECODABLE, LineDecoder, shown
from llm.data.reading.origin import Origin
from llm.data.rows import Rejected, Row

_HALF_PAIR: Final = re.compile(r"\\u[dD][89a-fA-F]")


class JsonParser:
    """Parses one value after the other, and says what in it is no JSON although Python reads it: NaN, a key that comes twice."""

    def __init__(self) -> None:
        self._problem = ""
        self._decoder = json.JSONDecoder(object_pairs_hook=self._pairs, parse_constant=self._constant)

    def parse(self, text: str, start: int = 0) -> tuple[Any, int, str]:
        """(value, where it ends, problem or ""). Raises ValueError or RecursionError for what is no JSON at all."""
        self._problem = ""
        value, end = self._decoder.raw_decode(text, start)
        return value, end, self._problem

    def _pairs(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            self._problem = self._problem or f"key twice: {_quoted(twice)}"
        return made

    def _constant(self, name: str) -> None:
        self._problem = self._problem or f"{name} is not JSON"


def jsonl_rows(lines: Iterable[bytes], decoder: LineDecoder, origin: Origin, first: int = 1) -> Iterator[Row | Rejected]:
    """A row a line, numbered by lines from `first`; a blank line is none."""
    parser = JsonParser()
    for number, line in enumerate(lines, start=first):
        text = decoder.decode(line)
        if text is None:
            yield origin.rejected(number, "undecodable", UNDECODABLE, shown(line))
        elif (row := line_row(parser, text, number, origin)) is not None:
            yield row


def line_row(parser: JsonParser, line: str, number: int, origin: Origin) -> Row | Rejected | None:
    """The row in one line of .jsonl, None for a blank line."""
    text = line.strip(" \t\r\n")
    if not text:
        return None
    try:
        value, end, problem = parser.parse(text)
    except (ValueError, RecursionError) as error:
        return origin.rejected(number, "not-json", _why(error), text)
    if end != len(text):
        return origin.rejected(number, "not-json", f"more than one value, column {end + 1}", text)
    return value_row(value, problem, number, text, origin)


def value_row(value: Any, problem: str, number: int, text: str, origin: Origin) -> Row | Rejected:
    """The row that a parsed value makes. text: what it was parsed from."""
    if problem:
        return origin.rejected(number, "not-json", problem, text)
    if not isinstance(value, dict):
        return origin.rejected(number, "not-an-object", f"a row is an object, this is {kind_of(value)}", text)
    if _HALF_PAIR.search(text) and (column := _column_with_half_a_pair(value)) is not None:
        detail = f"half a surrogate pair in {_quoted(column)}: a character that was cut in two"
        return origin.rejected(number, "lone-surrogate", detail, text, value)
    return origin.row(number, value)


def kind_of(value: Any) -> str:
    """What a value is called in a message."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _column_with_half_a_pair(value: Mapping[str, Any]) -> str | None:
    for key, field in value.items():
        try:
            (key + field if isinstance(field, str) else json.dumps([key, field], ensure_ascii=False)).encode()
        except UnicodeEncodeError:
            return key
    return None


def _quoted(name: str) -> str:
    return json.dumps(name)  # ASCII: a key may hold half a surrogate pair


def _why(error: Exception) -> str:
    return f"{error.msg}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
