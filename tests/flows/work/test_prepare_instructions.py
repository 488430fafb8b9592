"""Great Expectations judges instructions by every number that a recipe may bound, and shows rows of what fails."""

import json
from dataclasses import asdict
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flows.pipeline.stage import Job
from flows.stages import prepare_instructions
from flows.work.prepare_instructions import work
from infra.settings import Settings
from infra.store.errors import InputError
from infra.store.folder import FolderStore
from infra.validation import validate
from llm.data.config import DataConfig
from llm.data.instruction_config import InstructionDataConfig, InstructionExpectations
from llm.data.instruction_sources import gather
from llm.data.instructions import read_instructions
from llm.events import Event, Noted


def mine(path: Path) -> InstructionDataConfig:
    rows = [{"instruction": f"What is {n}?", "output": f"It is {n}."} for n in range(36)]
    rows += [{"instruction": "What?", "output": ""}] * 4
    path.write_text("\n".join(map(json.dumps, rows)))
    return InstructionDataConfig(
        path=str(path), on_invalid="drop", expectations=InstructionExpectations(max_empty_answer_share=0.1)
    )


def test_a_failed_expectation_is_told_in_words_with_rows_that_show_it(tmp_path: Path) -> None:
    found = gather(mine(tmp_path / "mine.jsonl"), DataConfig()).rows
    expected = asdict(InstructionExpectations(min_rows=37, max_empty_answer_share=0.05))
    report = validate(found.numbers(), found.sample(), expected, kind="instruction")
    failed = {row.expectation: row for row in report.rows if not row.passed}
    assert set(failed) == {"rows", "share of rows without an answer"}
    assert (failed["rows"].observed, failed["rows"].limit) == (36, "at least 37")
    assert failed["share of rows without an answer"].examples[0] == 'mine.jsonl:37: mine.jsonl, line 37: "output" is empty'
    named = {row.name for row in report.rows}
    assert {"max_invalid_share", "max_duplicate_share", "min_mean_answer_bytes", "max_longest_answer_bytes"} <= named


def test_the_report_and_every_row_that_was_left_out_stand_beside_the_dataset(store: FolderStore, tmp_path: Path) -> None:
    events = list[Event]()
    data = mine(tmp_path / "mine.jsonl")
    stage = prepare_instructions(data, DataConfig())
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    job = Job(
        store=store,
        settings=Settings(),
        key=stage.key(),
        attempt=1,
        run="prepare-instructions-1",
        earlier_runs=(),
        inputs={},
        scratch=scratch,
        observe=events.append,
        still_ours=lambda: None,
    )
    outcome = work(job, stage.settings)
    assert {name: outcome.result[name] for name in ("rows", "test_rows", "invalid", "duplicates", "seen")} == {
        "rows": 36,
        "test_rows": 2,
        "invalid": 4,
        "duplicates": 0,
        "seen": 0,
    }
    assert "left out: 4 empty answer" in [event.message for event in events if isinstance(event, Noted)]
    dataset, validation = outcome.outputs["examples"], outcome.outputs["validation"]
    assert len(read_instructions(dataset, "train")) == 32
    assert dataset.facts["report"] == validation.prefix
    assert (dataset.facts["rows_read"], dataset.facts["rejected"]) == (40, {"empty-answer": 4})
    left_out = pq.read_table(validation.path("rejected.parquet")).to_pylist()
    assert [row["row"] for row in left_out] == [37, 38, 39, 40]


def test_rows_that_are_wrong_are_refused_before_anything_starts_unless_they_are_to_be_left_out(tmp_path: Path) -> None:
    path = mine(tmp_path / "mine.jsonl").path
    with pytest.raises(InputError, match='"output" is empty') as caught:
        prepare_instructions(InstructionDataConfig(path=path), DataConfig())
    assert caught.value.where == f"{path}, line 37"
