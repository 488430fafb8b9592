"""Labelled texts are judged before they are split, and those that cannot teach anything are refused with rows that show why."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flows.pipeline.stage import Job, Outcome
from flows.stages import prepare_classification
from flows.work.prepare_classification import work
from infra.settings import Settings
from infra.store.errors import RefusedError
from infra.store.folder import FolderStore
from llm.data.classification import read_examples
from llm.data.config import ClassificationData, DataConfig
from llm.events import Event, Noted, Tabled

Rows = list[tuple[str, str]]
Prepare = Callable[[Rows, list[Event]], Outcome]


@pytest.fixture
def prepare(store: FolderStore, tmp_path: Path) -> Prepare:
    """Runs the work of the stage on rows of (text, label); what it says goes into the list."""

    def run(rows: Rows, events: list[Event]) -> Outcome:
        path = tmp_path / "mail.jsonl"
        path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
        stage = prepare_classification(ClassificationData(path=str(path)), DataConfig())
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        job = Job(
            store=store,
            settings=Settings(),
            key=stage.key(),
            attempt=1,
            run="prepare-classification-1",
            earlier_runs=(),
            inputs={},
            scratch=scratch,
            observe=events.append,
            still_ours=lambda: None,
        )
        return work(job, stage.settings)

    return run


def good(n: int = 60) -> Rows:
    return [(f"a letter, number {i}", "ham" if i % 2 else "spam") for i in range(n)]


def test_what_is_left_out_is_said_and_counted(prepare: Prepare, tmp_path: Path) -> None:
    events = list[Event]()
    torn = [("You won", "spam"), ("you  WON", "ham")]
    outcome = prepare([*good(200), ("A letter, number 3", "ham"), *torn], events)
    counted = {"rows": 200, "labels": 2, "test_rows": 20, "invalid": 0, "duplicates": 1, "conflicts": 2, "expectations": 21}
    assert outcome.result == {**counted, "source_path": str(tmp_path / "mail.jsonl")}
    said = [event.message for event in events if isinstance(event, Noted)]
    assert "left out: 1 that repeat an earlier one; 2 that say another thing of the same text than others do" in said
    (table,) = [event for event in events if isinstance(event, Tabled)]
    assert table.rows == (
        ("mail.jsonl:202", "mail.jsonl, line 202: mail.jsonl:203 says 'ham' of the same text", "You won"),
        ("mail.jsonl:203", "mail.jsonl, line 203: mail.jsonl:202 says 'spam' of the same text", "you WON"),
    )
    dataset = outcome.outputs["examples"]
    assert len(read_examples(dataset, "train")) == 160
    assert dataset.facts["sources"][0]["name"] == "mail.jsonl"
    assert dataset.facts["validation"]["passed"] is True
    assert dataset.facts["rejected"] == {"exact-duplicate": 1, "label-conflict": 2}
    validation = outcome.outputs["validation"]
    assert sorted(validation.files) == ["findings.parquet", "rejected.parquet", "report.html", "report.json"]
    left_out = pq.read_table(validation.path("rejected.parquet")).to_pylist()
    reasons = [(row["row"], row["reason"]) for row in left_out]
    assert reasons == [(201, "exact-duplicate"), (202, "label-conflict"), (203, "label-conflict")]


def test_texts_that_cannot_teach_anything_are_refused_with_the_rows_that_show_it(prepare: Prepare, store: FolderStore) -> None:
    events = list[Event]()
    with pytest.raises(RefusedError) as caught:
        prepare([*good(40), ("rare", "rare"), *[(" ", "ham")] * 3, *[("You won", "spam"), ("you won", "ham")] * 2], events)
    error = caught.value
    assert error.what == (
        "3 of 21 expectations failed: rows of the rarest label, share of empty documents, share of rows whose text has two labels"
    )
    assert error.where == "prepare-classification"
    assert "--set classify.data.expectations.NAME=VALUE" in error.mend
    _, shown = [event for event in events if isinstance(event, Tabled)]
    assert ("rows of the rarest label", "mail.jsonl:41: rare: rare") in shown.rows
    assert ("share of empty documents", 'mail.jsonl:42: mail.jsonl, line 42: "text" is empty') in shown.rows
    assert not list(store.list("datasets"))
