"""Which column is which: the one a setting names, or the first of the usual names that the rows have."""

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from infra.store.errors import InputError
from llm.data.kinds.draft import keys_of, row_word
from llm.data.rows import Row

TEXT: Final = ("text", "sentence", "content", "message", "body", "document", "review", "comment", "utterance", "title", "question")
LABEL: Final = ("label", "labels", "class", "category", "target", "sentiment", "intent", "topic")


@dataclass(frozen=True)
class Columns:
    """The columns of labelled texts."""

    text: str = "text"
    label: str = "label"

    def __str__(self) -> str:
        return f"text in column {json.dumps(self.text)}, label in {json.dumps(self.label)}"


def column_of(
    rows: Sequence[Row], where: str, setting: str, *, asked: str, usual: Sequence[str], needed: bool = True, example: str = ""
) -> str:
    """The column that `asked` names, else the first of the usual names that some of the rows have; empty where none is needed.

    setting: the recipe's key that names the column. Raises InputError, naming the columns there are, where it is not there.
    """
    there = list(dict.fromkeys(key for row in rows for key in row.fields))
    if not rows or asked in there or not (asked or needed):
        return asked or next((name for name in usual if name in there or not rows), "")
    by_name = {key.strip().casefold(): key for key in reversed(there)}
    if not asked and (found := next((by_name[name] for name in usual if name in by_name), "")):
        return found
    raise no_column(rows[0], asked or usual[0], f"{where}, {row_word(rows[0].source)} {rows[0].number}", setting, example)


def labelled_columns(rows: Sequence[Row], where: str, section: str, *, text: str, label: str) -> Columns:
    """The two columns of labelled texts: named, found by a usual name, or, where there are just two, told apart by length.

    section: the recipe's keys under which `text_column` and `label_column` stand. Raises InputError.
    """
    there = list(dict.fromkeys(key for row in rows for key in row.fields))
    if len(there) == 2 and not text and not label and not _usual(there):
        lengths = [sum(len(str(row.fields.get(key) or "")) for row in rows) for key in there]
        text, label = sorted(there, key=lambda key: lengths[there.index(key)], reverse=True)
    elif len(there) == 2 and bool(text) != bool(label) and (text or label) in there:
        other = next(key for key in there if key != (text or label))
        text, label = text or other, label or other
    return Columns(
        column_of(rows, where, f"{section}.text_column", asked=text, usual=TEXT),
        column_of(rows, where, f"{section}.label_column", asked=label, usual=[name for name in LABEL if name != text]),
    )


def no_column(row: Row, column: str, where: str, setting: str, example: str = "") -> InputError:
    """That a column is not there, with the nearest that is."""
    texts = [key for key, value in row.fields.items() if isinstance(value, str)]
    near = (difflib.get_close_matches(column, texts, 1) or texts)[:1]
    kind = setting.rpartition(".")[2].removesuffix("_column")
    mend = f"Pass --set {setting}={near[0]} if that is the {kind}." if near else "Mend the row, or remove it."
    what = f"no column {json.dumps(column, ensure_ascii=False)}; its columns are {keys_of(row.fields)}"
    return InputError(what, where=where, mend=f"Give rows such as {example}. {mend}" if example else mend)


def _usual(there: Sequence[str]) -> bool:
    names = {key.strip().casefold() for key in there}
    return bool(names & set(TEXT)) and bool(names & set(LABEL))
