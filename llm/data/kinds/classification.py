"""Rows as labelled texts: one column is the text, one its class."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from llm.data.kinds.columns import Columns, labelled_columns
from llm.data.kinds.draft import Draft, WrongRowError, keys_of, named, with_line_feeds
from llm.data.kinds.kind import Kind
from llm.data.rows import Row

_PREVIEW: Final = 80
_USUAL: Final = Columns()


@dataclass(frozen=True)
class Labelled:
    """A text and its class. `id` says where it came from: `file:line`, or a dotted name of the standard library."""

    id: str
    text: str
    label: str


def normalised(text: str) -> str:
    """What makes two texts the same here: their words, without regard to case."""
    return " ".join(text.split()).casefold()


CLASSIFICATION: Final = Kind[Labelled](
    "classification",
    texts=lambda row: (row.text,),
    preview=lambda row: f"{row.label}: {repr(row.text[:_PREVIEW])[1:-1]}",
    same=lambda row: normalised(row.text),
    says=lambda row: row.label,
    label=lambda row: row.label,
)


def labelled_of(
    rows: Sequence[Row], where: str, section: str, *, text: str, label: str
) -> tuple[Callable[[Row], Draft[Labelled]], str]:
    """The reader of rows like these first ones, and which columns it reads. Raises InputError where they are not there."""
    columns = labelled_columns(rows, where, section, text=text, label=label)
    return partial(draft_labelled, columns=columns), str(columns)


def draft_labelled(row: Row, columns: Columns = _USUAL) -> Draft[Labelled]:
    """A row as a labelled text. Raises WrongRowError."""
    text = _column(row.fields, columns.text)
    if not isinstance(text, str):
        raise WrongRowError("not-text", f'"{columns.text}" is {_kind_of(text)}, not a string')
    label = _label(row.fields, columns.label)

    def make(texts: Mapping[str, str]) -> Labelled:
        if not texts[columns.text].strip():
            raise WrongRowError("empty", f'"{columns.text}" is empty')
        return Labelled(row.id, with_line_feeds(texts[columns.text]), label)

    return Draft({columns.text: text}, make, str(columns))


def _label(fields: Mapping[str, Any], column: str) -> str:
    label = _column(fields, column)
    if isinstance(label, int):  # true and false too, which are numbers to Python
        return str(label).lower()
    if not isinstance(label, str):
        raise WrongRowError("no-label", f'"{column}" is {_kind_of(label)}, not a label')
    if not label.strip():
        raise WrongRowError("no-label", f'"{column}" is empty: every row needs a label')
    return label.strip()


def _column(fields: Mapping[str, Any], column: str) -> Any:
    if column not in fields:
        raise WrongRowError("missing-column", f'no column "{column}"; its columns are {keys_of(fields)}')
    return fields[column]


def _kind_of(value: Any) -> str:
    return "null" if value is None else named(value)
