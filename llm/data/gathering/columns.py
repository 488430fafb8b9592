"""The column of the text, file by file: the files of a folder need not be alike."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import islice
from typing import Final

from infra.store.errors import InputError
from llm.data.reading.columns import Column, text_column
from llm.data.reading.found import Found, FoundFile
from llm.data.reading.rows import read_file
from llm.data.rows import Row

TEXT: Final = Column("text", "")
_TEXT_ALONE: Final = ("txt", "md", "stdlib")
_LOOKED_AT: Final = 20  # rows


@lru_cache(maxsize=1000)
def column_of(file: FoundFile, asked: str) -> Column:
    """The one that is asked for, or found in the first rows of the file. Raises InputError where none of them has it."""
    if file.format in _TEXT_ALONE:
        return TEXT
    rows = list(islice((item for item in read_file(file) if isinstance(item, Row)), _LOOKED_AT))
    return text_column(rows, asked) if rows else Column(asked or TEXT.name, "")


def likely_column(file: FoundFile, asked: str) -> str:
    """The same; where no row has it, the name that is missing in each."""
    try:
        return column_of(file, asked).name
    except InputError:
        return asked or TEXT.name


def first_column(found: Found, asked: str) -> Column:
    """How the first file that has the column is read. Raises the first file's InputError where none has."""
    error: InputError | None = None
    for file in _with_columns(found.files):
        try:
            if (column := column_of(file, asked)).found:
                return column
        except InputError as raised:
            error = error or raised
    if error is not None:
        raise error
    return TEXT


def _with_columns(files: Sequence[FoundFile]) -> list[FoundFile]:
    return [file for file in files if file.format not in _TEXT_ALONE]
