"""Where instructions come from, a user's file or what every Python carries: looked at first; then gathered and split."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from infra.store.fingerprint import fingerprint
from llm.data import sources
from llm.data.config import PYTHON_STDLIB, DataConfig
from llm.data.instruction_config import InstructionDataConfig
from llm.data.instruction_files import Found, Wrong, find_instructions
from llm.data.instructions import Instruction, distinct, split_by_question
from llm.data.labelled import stdlib_documents
from llm.data.sources import SourceVersion
from llm.data.stdlib_questions import FORMS, ask_about
from llm.data.tokens import Split, split_documents

ON_INVALID: Final = "instruct.data.on_invalid"  # the recipe's key
_SHOWN, _PREVIEW = 3, 80


@dataclass(frozen=True)
class Gathered:
    """Rows and the split of each, and what was left out: `wrong` rows, repetitions, answers that pretraining had `seen`."""

    rows: list[Instruction]
    splits: Sequence[Split]
    wrong: list[Wrong]
    duplicates: int
    seen: int

    def numbers(self) -> dict[str, float]:
        """A value for each of the names that expectations bound; shares are of all rows there were, good or bad."""
        answers = [len(row.answer.encode()) for row in self.rows] or [0]
        there = max(1, len(self.rows) + len(self.wrong) + self.duplicates + self.seen)
        return {
            "rows": len(self.rows),
            "invalid_share": len(self.wrong) / there,
            "empty_answer_share": sum(each.kind == "empty answer" for each in self.wrong) / there,
            "duplicate_share": self.duplicates / there,
            "mean_answer_bytes": float(np.mean(answers)),
            "longest_answer_bytes": max(answers),
        }

    def sample(self) -> dict[str, list[str]]:
        """Rows that show each number, as columns: `id`, `preview` and the number it is `kept_for`."""
        empty = [each for each in self.wrong if each.kind == "empty answer"]
        longest = sorted(self.rows, key=lambda row: len(row.answer), reverse=True)
        shown = [
            *((row.id, _preview(row), "") for row in self.rows[:_SHOWN]),
            *((row.id, _preview(row), "longest_answer_bytes") for row in longest[:_SHOWN]),
            *((f"row {each.row}", each.what, "invalid_share") for each in self.wrong[:_SHOWN]),
            *((f"row {each.row}", each.what, "empty_answer_share") for each in empty[:_SHOWN]),
        ]
        return {name: [row[place] for row in shown] for place, name in enumerate(("id", "preview", "kept_for"))}


def inspect_instructions(data: InstructionDataConfig, corpus: DataConfig) -> SourceVersion:
    """Reads every row once. Raises InputError for the first that is wrong, unless wrong ones are to be left out."""
    if data.path == PYTHON_STDLIB:
        found = sources.inspect(PYTHON_STDLIB, corpus)
        version = fingerprint({"source": found.version, "questions": FORMS})[:16]
        return replace(found, version=version)
    read = _checked(data)
    return SourceVersion("file", read.version, (read.file,), read.summary, path=str(read.path.absolute()))


def gather(data: InstructionDataConfig, corpus: DataConfig) -> Gathered:
    """All rows that are of use. Those about the standard library are split as its documents in `corpus` are for pretraining."""
    if data.path == PYTHON_STDLIB:
        documents = stdlib_documents(corpus)
        shares = {"validation_share": corpus.validation_share, "test_share": corpus.test_share}
        asked = ask_about(documents, split_documents(documents, **shares).splits)
        return Gathered(asked.rows, asked.splits, [], asked.duplicates, asked.seen)
    read = _checked(data)
    rows, duplicates = distinct(read.rows)
    splits = split_by_question(rows, validation_share=data.validation_share, test_share=data.test_share)
    return Gathered(rows, splits, read.wrong, duplicates, 0)


def _checked(data: InstructionDataConfig) -> Found:
    read = find_instructions(data.path)
    if data.on_invalid == "refuse":
        read.check(ON_INVALID)
    return read


def _preview(row: Instruction) -> str:
    return repr(f"{row.question[:_PREVIEW]} -> {row.answer[:_PREVIEW]}")[1:-1]  # one line, and nothing that moves a cursor
