"""The work of `prepare-classification`: labelled texts, repetitions out, judged by Great Expectations, split, published."""

from flows.pipeline.stage import Job, Outcome
from flows.stage_settings import Labelling
from flows.work.judged_rows import facts_of, judge_rows
from infra.store.manifest import content_version, describe, publish
from llm.data.classification import write_examples
from llm.data.config import PYTHON_STDLIB
from llm.data.kinds.classification import Labelled
from llm.data.kinds.result import Rows
from llm.data.labelled import SECTION, gather
from llm.events import Noted, Tabled

_SHOWN = 5


def work(job: Job, settings: Labelling) -> Outcome:
    data = settings.data
    gathered = gather(data, settings.corpus, data.cleaning)
    job.observe(Noted(gathered.source.summary))
    report, told = judge_rows(job, gathered, data, settings.expectations, stage="prepare-classification", section=SECTION)
    _show_conflicts(job, gathered.rows)
    folder, found = job.scratch / "examples", gathered.rows
    counted = write_examples(found.kept, gathered.splits, folder)
    gathered.check_unchanged(data.path)
    left_out = {
        "invalid": len(found.wrong),
        "empty": found.reasons.get("empty", 0),
        "duplicates": found.reasons.get("exact-duplicate", 0),
        "conflicts": found.reasons.get("label-conflict", 0),
    }
    facts = {
        "kind": "classification",
        "name": data.dataset_name,
        **counted,
        "split_by": "document, as in pretraining" if data.path == PYTHON_STDLIB else "text",
        **left_out,
        **facts_of(gathered, report, told),
    }
    version = content_version(describe(folder))
    job.still_ours()
    examples = publish(job.store, f"datasets/{data.dataset_name}-classification/{version}", folder, facts)
    result = {
        "rows": counted["rows"],
        "labels": len(counted["labels"]),
        "test_rows": sum(counted["splits"]["test"].values()),
        "invalid": left_out["invalid"],
        "duplicates": left_out["duplicates"],
        "conflicts": left_out["conflicts"],
        "expectations": len(report.rows),
        "source_path": gathered.source.path,
    }
    return Outcome({"examples": examples, "validation": told}, result)


def _show_conflicts(job: Job, found: Rows[Labelled]) -> None:
    if conflicts := found.rejected_for("label-conflict"):
        shown = tuple((row.id, row.detail, " ".join(row.text.split())[:60]) for row in conflicts[:_SHOWN])
        job.observe(Tabled(("row", "label conflict", "text"), shown))
