"""Labelled texts, read row by row from a file or from what every Python carries; a bad row is named with its mend."""

import csv
import gzip
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from infra.store.errors import InputError
from infra.store.fingerprint import fingerprint
from llm.data import sources
from llm.data.config import PYTHON_STDLIB, ClassificationData, DataConfig
from llm.data.documents import Document
from llm.data.kinds.classification import Labelled
from llm.data.sources import SourceVersion
from llm.data.stdlib_parts import PARTS, part_of
from llm.data.text_files import kind_of, no_column, read_through, row_object, whole_text

SUPPORTED: Final = ".jsonl, .csv and .tsv, plain or .gz"
_DELIMITERS: Final = {".csv": ",", ".tsv": "\t"}
_SECTION: Final = "classify.data"
_MEND: Final = "Mend the row, or remove it."


def inspect(data: ClassificationData, corpus: DataConfig) -> SourceVersion:
    """Reads every row once. Raises InputError, one sentence with file and row, for the first that cannot be used."""
    if data.path == PYTHON_STDLIB:
        found = sources.inspect(PYTHON_STDLIB, corpus)
        version = fingerprint({"source": found.version, "parts": PARTS})[:16]
        return replace(found, version=version)
    path = _file(data.path)
    checked = read_through(path, path.name, data.text_column, f"{_SECTION}.text_column")
    rows = sum(1 for _ in read_rows(data)) if checked else 0
    if checked is None or not rows:
        raise InputError("empty: it holds no rows", where=str(path), mend="Give a file with a row a text.")
    version = fingerprint({checked.name: checked.sha256})[:16]
    return SourceVersion("file", version, (checked,), f"{rows:,} rows of {path.name}", path=str(path.absolute()))


def read_rows(data: ClassificationData) -> Iterator[Labelled]:
    """The rows of a file, in their order; ids are `file:line`. Line ends become line feeds. Raises InputError naming a bad row."""
    path = _file(data.path)
    for line, row in _json_rows(path) if _suffix(path) == ".jsonl" else _table_rows(path):
        where = f"{path}, line {line}"
        text = whole_text(row, data.text_column, where, f"{_SECTION}.text_column")
        others = row if data.label_column in row else {name: row[name] for name in row if name != data.text_column}
        label = _label(others, data.label_column, where)
        yield Labelled(f"{path.name}:{line}", text.replace("\r\n", "\n").replace("\r", "\n"), label)


def stdlib_documents(corpus: DataConfig) -> list[Document]:
    """The documents that pretraining takes from the standard library, in its order: each exact text once."""
    kept: dict[str, Document] = {}
    for document in sources.documents(PYTHON_STDLIB, corpus):
        if document.text.strip():
            kept.setdefault(document.text, document)
    return list(kept.values())


def by_part(documents: Sequence[Document]) -> list[Labelled]:
    """Each docstring labelled with the part of the library that its module belongs to; those of no part are left out.

    Nothing is taken out of a text: a docstring that names its own module gives its class away, as it does to a reader.
    """
    parts = ((document, part_of(document.source)) for document in documents)
    return [Labelled(document.id, document.text, part) for document, part in parts if part is not None]


def _label(row: dict[str, Any], column: str, where: str) -> str:
    if column not in row:
        raise no_column(row, column, where, f"{_SECTION}.label_column")
    label = row[column]
    if isinstance(label, int):  # true and false too, which are numbers to Python
        return str(label).lower()
    if not isinstance(label, str):
        raise InputError(f'"{column}" is {kind_of(label)}, not a label', where=where, mend=_MEND)
    if not label.strip():
        raise InputError(f'"{column}" is empty: every row needs a label', where=where, mend=_MEND)
    return label.strip()


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with _open(path) as lines:
        for number, line in enumerate(lines, start=1):
            row = row_object(line, f"{path}, line {number}")
            if row is not None:
                yield number, row


def _table_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with _open(path) as lines:
        reader = csv.reader(lines, delimiter=_DELIMITERS[_suffix(path)], strict=True)
        head: list[str] | None = None
        try:
            for values in reader:
                if not values:
                    continue
                if head is None:
                    head = values
                    continue
                if len(values) != len(head):
                    what = f"{len(values)} columns, where the first line has {len(head)}"
                    raise InputError(what, where=f"{path}, line {reader.line_num}", mend=_MEND)
                yield reader.line_num, dict(zip(head, values, strict=True))
        except csv.Error as error:
            what = f"not a table ({error})"
            raise InputError(what, where=f"{path}, line {reader.line_num}", mend="Mend the quotes of the row.") from None


def _open(path: Path) -> Any:
    """The file's lines as text; `read_through` has found that they are UTF-8."""
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    return opened(path, "rt", encoding="utf-8-sig", newline="" if _suffix(path) in _DELIMITERS else "\n")


def _file(path: str) -> Path:
    found = Path(path).expanduser().absolute()
    if not path or not found.is_file():
        what = "a folder, not a file" if found.is_dir() else "no such file"
        mend = f"Give a file ({SUPPORTED}), or {PYTHON_STDLIB}."
        raise InputError(what, where=path or f"{_SECTION}.path", mend=mend)
    if not _suffix(found):
        raise InputError("not a kind of file that is read here", where=str(found), mend=f"Supported are {SUPPORTED}.")
    return found


def _suffix(path: Path) -> str:
    stem = path.name.lower().removesuffix(".gz")
    return next((known for known in (".jsonl", *_DELIMITERS) if stem.endswith(known)), "")
