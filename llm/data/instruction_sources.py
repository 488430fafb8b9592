"""Where instructions come from, rows of a user's own or what every Python carries: looked at first; then gathered and split."""

from dataclasses import replace
from typing import Final

from infra.store.fingerprint import fingerprint
from llm.data.cleaning.config import CleaningConfig
from llm.data.config import PYTHON_STDLIB, DataConfig
from llm.data.instruction_config import InstructionDataConfig
from llm.data.instructions import Instruction, split_by_question
from llm.data.kinds.gather import Read, sorted_out
from llm.data.kinds.instruction import INSTRUCTION, instructions_of
from llm.data.kinds.result import Rows
from llm.data.kinds.sources import Gathered, Source
from llm.data.labelled import stdlib_documents
from llm.data.reading.found import Found
from llm.data.reading.inspect import inspect
from llm.data.rows import Rejected, Row
from llm.data.splitting import split_documents
from llm.data.stdlib_questions import FORMS, Question, ask_about

SECTION: Final = "instruct.data"
ON_INVALID: Final = f"{SECTION}.on_invalid"
"""The recipe's key that leaves out the rows in which something is wrong."""


def inspect_instructions(data: InstructionDataConfig) -> Found:
    """Looks at the source and at every row of it. Raises InputError for the first that is wrong, unless those are to be left out.

    The version is one of the content: where a file lies and what it is called do not bear on it.
    """
    if data.path == PYTHON_STDLIB:
        return _stdlib(inspect(PYTHON_STDLIB))
    source = Source(INSTRUCTION, data.path, instructions_of)
    return _known(source, source.right_rows(ON_INVALID, data.on_invalid))


def gather(data: InstructionDataConfig, corpus: DataConfig, cleaning: CleaningConfig | None = None) -> Gathered[Instruction]:
    """All rows that are of use, and the split of each; about the standard library, that of its documents in `corpus`.

    cleaning: as far as it suits instructions, for rows of one's own. Raises InputError for the first wrong row, unless those are
    to be left out.
    """
    if data.path == PYTHON_STDLIB:
        return _about_stdlib(corpus)
    source = Source(INSTRUCTION, data.path, instructions_of)
    rows = source.right_rows(ON_INVALID, data.on_invalid, cleaning)
    splits = split_by_question(rows.kept, validation_share=data.validation_share, test_share=data.test_share)
    return Gathered(_known(source, rows), rows, splits, source.found.version)


def judge(data: InstructionDataConfig, cleaning: CleaningConfig | None = None) -> Rows[Instruction]:
    """All rows, whatever is wrong with some: nothing is refused, and nothing split."""
    if data.path == PYTHON_STDLIB:
        return _about_stdlib(DataConfig()).rows
    return Source(INSTRUCTION, data.path, instructions_of).rows(cleaning)


def _known(source: Source[Instruction], rows: Rows[Instruction]) -> Found:
    hashes = [file.sha256 for file in source.found.files]
    version = fingerprint({"instructions": hashes[0] if len(hashes) == 1 else hashes})[:16]
    return replace(source.counted(rows), version=version)


def _stdlib(found: Found) -> Found:
    return replace(found, version=fingerprint({"source": found.version, "questions": FORMS})[:16])


def _about_stdlib(corpus: DataConfig) -> Gathered[Instruction]:
    found, documents = inspect(PYTHON_STDLIB), stdlib_documents(corpus)
    shares = {"validation_share": corpus.validation_share, "test_share": corpus.test_share}
    asked = ask_about(documents, split_documents(documents, **shares).splits)
    modules = {document.parent: document.source for document in documents}
    read = [Read(Row(each.id, modules[each.id], 1, {}), each) for each in asked.rows]
    left_out = [_left_out(each, "exact-duplicate", "its answer is another question's too") for each in asked.repeated]
    left_out += [_left_out(each, "contamination", "its answer stands in a training document") for each in asked.seen]
    rows = sorted_out(INSTRUCTION, read, left_out, columns="questions about docstrings, answered by how they begin")
    return Gathered(_stdlib(found), rows, asked.splits, found.version)


def _left_out(question: Question, reason: str, detail: str) -> Rejected:
    of = question.document
    return Rejected(of.parent, of.source, 1, reason, detail, f"{question.question}\n\n{question.answer}")
