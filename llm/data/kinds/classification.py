"""Rows as labelled texts: one column is the text, one its class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from llm.data.kinds.draft import Draft, WrongRowError, keys_of, value_named, with_line_feeds
from llm.data.kinds.headless import is_headless, with_first_lines
from llm.data.kinds.kind import Kind
from llm.data.kinds.reader import Reader
from llm.data.rows import Row

_PREVIEW: Final = 80


@dataclass(frozen=True)
class Columns:
    """The columns of a text and its label."""

    text: str = "text"
    label: str = "label"

    def __str__(self) -> str:
        return f'texts in "{self.text}" with labels in "{self.label}"'


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


def labelled_of(rows: Sequence[Row], *, section: str, text: str, label: str) -> Reader[Labelled]:
    """The reader of rows like these first ones. section: the recipe's keys under which `text_column` and `label_column` stand.

    Raises InputError where the columns named are not there, or none is found.
    """
    from llm.data.reading.columns import label_column, text_column  # pyarrow: what a labelled text is, is known without

    if not rows:
        return Reader(partial(draft_labelled, columns=Columns(text or "text", label or "label")))
    texts = text_column(rows, text, f"{section}.text_column")
    labels = label_column(rows, texts.name, label, f"{section}.label_column")
    read = partial(draft_labelled, columns=Columns(texts.name, labels.name))
    said = f"{texts.found}; {labels.found}"
    if not text and not label and is_headless(rows, labels.name):
        return Reader(read, "a label and a text in files without a header", with_first_lines)
    return Reader(read, said)


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
    return "null" if value is None else value_named(value)
