"""Great Expectations judges instructions by every number that a recipe may bound, and shows rows of what fails."""

import json
from dataclasses import asdict
from pathlib import Path

from infra.validation import validate
from llm.data.config import DataConfig
from llm.data.instruction_config import InstructionDataConfig, InstructionExpectations
from llm.data.instruction_sources import gather
from llm.data.instructions import Instruction
from llm.data.kinds.result import Rows


def gathered(path: Path) -> Rows[Instruction]:
    rows = [{"instruction": f"What is {n}?", "output": f"It is {n}."} for n in range(36)]
    rows += [{"instruction": "What?", "output": ""}] * 4
    path.write_text("\n".join(map(json.dumps, rows)))
    return gather(InstructionDataConfig(path=str(path), on_invalid="drop"), DataConfig()).rows


def test_a_failed_expectation_is_told_in_words_with_rows_that_show_it(tmp_path: Path) -> None:
    found = gathered(tmp_path / "mine.jsonl")
    expected = asdict(InstructionExpectations(min_rows=37, max_empty_answer_share=0.05))
    report = validate(found.numbers(), found.sample(), expected, kind="instruction")
    failed = {row.expectation: row for row in report.rows if not row.passed}
    assert set(failed) == {"rows", "share of rows without an answer"}
    assert (failed["rows"].observed, failed["rows"].limit) == (36, "at least 37")
    assert failed["share of rows without an answer"].examples[0] == 'mine.jsonl:37: mine.jsonl, line 37: "output" is empty'
    assert len(report.rows) == len(expected)
    assert validate(
        found.numbers(), found.sample(), asdict(InstructionExpectations(max_empty_answer_share=0.1)), kind="instruction"
    ).passed
