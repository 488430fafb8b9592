"""What readers give and cleaning records: rows as a file holds them, rows that were turned away, things found in a text."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One row as a file holds it, before anything is made of it.

    id: the row's own `id` column where it has one, else `file:number`. number: from 1, the line of .jsonl, the record's first line
    of .csv, the row of a Parquet file, 1 for a text file, which is one row of `{"text": ...}`.
    """

    id: str
    source: str
    number: int
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Rejected:
    """A row that is left out, and why: `reason` groups it with others like it, `detail` is one phrase with the place in it."""

    id: str
    source: str
    row: int
    reason: str
    detail: str = ""
    text: str = ""


@dataclass(frozen=True)
class Finding:
    """Something found in a text that was kept: what kind of thing, and where in the text as it was read, in characters."""

    kind: str
    start: int
    end: int
