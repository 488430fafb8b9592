"""Labelled texts of a user's own, or what every Python carries: looked at first, and then gathered, each text once."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from infra.store.errors import InputError
from infra.store.fingerprint import fingerprint
from llm.data.config import CURATED, PYTHON_STDLIB, ClassificationData, DataConfig
from llm.data.documents import Document, cut_document
from llm.data.kinds.classification import CLASSIFICATION, Labelled, labelled_of
from llm.data.rows import Row
from llm.data.stdlib_parts import PARTS, part_of

if TYPE_CHECKING:
    from llm.data.cleaning.config import CleaningConfig
    from llm.data.kinds.result import Rows
    from llm.data.kinds.sources import Gathered, Source
    from llm.data.reading.found import Found

SECTION: Final = "classify.data"
ON_INVALID: Final = f"{SECTION}.on_invalid"
"""The recipe's key that leaves out the rows in which something is wrong."""


def inspect(data: ClassificationData) -> "Found":
    """Looks at the source and at every row of it. Raises InputError for the first that is wrong, unless those are to be left out.

    The version is one of the files' names and content: where they lie does not bear on it.
    """
    if data.path == PYTHON_STDLIB:
        from llm.data.reading.inspect import inspect as look  # pyarrow, as below: who has no labelled texts does without

        return _stdlib(look(PYTHON_STDLIB))
    source = _source(data)
    return source.counted(source.right_rows(ON_INVALID, data.on_invalid))


def gather(data: ClassificationData, corpus: DataConfig, cleaning: "CleaningConfig | None" = None) -> "Gathered[Labelled]":
    """All rows that are of use, and the split of each; of docstrings, that of the library's documents in `corpus`.

    cleaning: as far as it suits labelled texts, for rows of one's own. Raises InputError for the first wrong row, unless those
    are to be left out.
    """
    from llm.data.classification import split_by_text  # pyarrow, as above
    from llm.data.kinds.sources import Gathered

    if data.path == PYTHON_STDLIB:
        return _of_stdlib(corpus)
    source = _source(data)
    rows = source.right_rows(ON_INVALID, data.on_invalid, cleaning)
    splits = split_by_text(rows.kept, validation_share=data.validation_share, test_share=data.test_share)
    return Gathered(source.counted(rows), rows, splits, source.found.version)


def judge(data: ClassificationData, cleaning: "CleaningConfig | None" = None) -> "Rows[Labelled]":
    """All rows, whatever is wrong with some: nothing is refused, and nothing split."""
    if data.path == PYTHON_STDLIB:
        return _of_stdlib(DataConfig()).rows
    return _source(data).rows(cleaning)


def stdlib_documents(corpus: DataConfig) -> list[Document]:
    """The documents that pretraining takes from the standard library, in its order: what `validate-data` keeps of it.

    Raises InputError where `data.cleaning` changes what that is.
    """
    from llm.data.cleaning.duplicates import digest  # pyarrow and numpy's friends, as above
    from llm.data.reading.inspect import inspect as look
    from llm.data.reading.rows import read

    if corpus.rules != CURATED:
        what = f"{PYTHON_STDLIB} is asked and classified as it is, and data.cleaning changes its documents"
        raise InputError(what, where="data.cleaning", mend="Leave data.cleaning as it is, or give rows of your own.")
    kept: dict[bytes, Row] = {}
    for row in read(look(PYTHON_STDLIB)):
        if isinstance(row, Row):
            kept.setdefault(digest(row.fields["text"]), row)
    passages: dict[str, Document] = {}
    for row in kept.values():
        for passage in cut_document(row.id, row.source, [row.fields["text"]], corpus.max_document_bytes):
            passages.setdefault(passage.text, passage)
    return list(passages.values())


def by_part(documents: Sequence[Document]) -> list[Labelled]:
    """Each docstring labelled with the part of the library that its module belongs to; those of no part are left out.

    Nothing is taken out of a text: a docstring that names its own module gives its class away, as it does to a reader.
    """
    parts = ((document, part_of(document.source)) for document in documents)
    return [Labelled(document.id, document.text, part) for document, part in parts if part is not None]


def _source(data: ClassificationData) -> "Source[Labelled]":
    from llm.data.kinds.sources import Source  # pyarrow, as above

    return Source(CLASSIFICATION, data.path, partial(labelled_of, section=SECTION, text=data.text_column, label=data.label_column))


def _stdlib(found: "Found") -> "Found":
    return replace(found, version=fingerprint({"source": found.version, "parts": PARTS})[:16])


def _of_stdlib(corpus: DataConfig) -> "Gathered[Labelled]":
    """The docstrings of the standard library, labelled and left as they are, each text once."""
    from llm.data.classification import split_as_pretrained  # pyarrow, as above
    from llm.data.kinds.gather import Read, sorted_out
    from llm.data.kinds.sources import Gathered
    from llm.data.reading.inspect import inspect as look

    found, documents = look(PYTHON_STDLIB), stdlib_documents(corpus)
    modules = {document.id: document.source for document in documents}
    read = [Read(Row(each.id, modules[each.id], 1, {}), each) for each in by_part(documents)]
    rows = sorted_out(CLASSIFICATION, read, columns="docstrings, with the part of the library they belong to")
    shares = {"validation_share": corpus.validation_share, "test_share": corpus.test_share}
    return Gathered(_stdlib(found), rows, split_as_pretrained(rows.kept, documents, **shares), found.version)
