"""What all kinds of rows share: a row is first its texts, by field; an example is made of them once they are clean."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from llm.data.rows import Rejected, Row

E_co = TypeVar("E_co", covariant=True)


@dataclass(frozen=True)
class Draft(Generic[E_co]):
    """A row as its texts, by the field each stands in, as a person reads them. `form` says in words what kind of row it is.

    make: the example of these texts, or of the same ones cleaned. Raises WrongRowError for texts of which none can be made.
    """

    texts: Mapping[str, str]
    make: Callable[[Mapping[str, str]], E_co]
    form: str


class WrongRowError(Exception):
    """Why no example can be made of a row: `reason` groups it with others like it, `detail` says it of this one."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail

    def of(self, row: Row) -> Rejected:
        return turned_away(row, self.reason, self.detail)


def example_of(row: Row, read: Callable[[Row], Draft[E_co]]) -> E_co | Rejected:
    """A row as an example of its kind, nothing cleaned; or why it is none. A pure function of the row."""
    try:
        draft = read(row)
        return draft.make(draft.texts)
    except WrongRowError as error:
        return error.of(row)


def turned_away(row: Row, reason: str, detail: str, text: str | None = None) -> Rejected:
    """A row that is left out, with its text, or all of its fields as JSON where they make none."""
    said = json.dumps(row.fields, ensure_ascii=False, default=str) if text is None else text
    return Rejected(row.id, row.source, row.number, reason, f"{row.source}, {row_word(row.source)} {row.number}: {detail}", said)


def row_word(source: str) -> str:
    """How a row's number is called: `line` for the formats that have them, else `row`."""
    name = source.lower()
    for packed in (".gz", ".zst", ".bz2", ".xz"):
        name = name.removesuffix(packed)
    return "line" if name.endswith((".jsonl", ".ndjson", ".csv", ".tsv", ".txt", ".md")) else "row"


def text_of(fields: Mapping[str, Any], key: str, *, needed: bool = True) -> str:
    """The text under a key; empty where there is none and none is needed. Raises WrongRowError."""
    value = fields.get(key)
    if value is None and not needed:
        return ""
    if key not in fields:
        raise WrongRowError("missing-column", f'no "{key}"; its keys are {keys_of(fields)}')
    if not isinstance(value, str):
        raise WrongRowError("not-text", f'"{key}" is {value_named(value)}, not a string')
    return value


def keys_of(fields: Mapping[str, Any]) -> str:
    return ", ".join(json.dumps(key, ensure_ascii=False) for key in fields) or "none"


def value_named(value: Any) -> str:
    """A value as a phrase may name it: the beginning of a string, else its kind."""
    if isinstance(value, str):
        return json.dumps(value[:40], ensure_ascii=False)
    names = {dict: "an object", list: "a list", bool: "true or false", type(None): "missing", int: "a number", float: "a number"}
    return names.get(type(value), f"a {type(value).__name__}")


def with_line_feeds(text: str) -> str:
    """With one kind of line end."""
    return text.replace("\r\n", "\n").replace("\r", "\n")
