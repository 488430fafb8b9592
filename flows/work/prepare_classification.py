"""The work of `prepare-classification`: labelled texts, repetitions out, judged by Great Expectations, split, published."""

from dataclasses import asdict

from flows.pipeline.stage import Job, Outcome
from flows.stages import Labelling
from flows.work.verdict import show_verdict
from infra.store.manifest import content_version, describe, publish
from infra.validation import validate
from llm.data.classification import write_examples
from llm.data.config import PYTHON_STDLIB
from llm.data.kinds.classification import Labelled
from llm.data.kinds.result import Rows
from llm.data.kinds.sources import USUAL
from llm.data.labelled import gather
from llm.events import Noted, Tabled

_SHOWN = 5


def work(job: Job, settings: Labelling) -> Outcome:
    data = settings.data
    gathered = gather(data, settings.corpus, USUAL)
    found, source = gathered.rows, gathered.source
    job.observe(Noted(source.summary))
    report = validate(found.numbers(), found.sample(), asdict(settings.expectations), kind="classification")
    show_verdict(job, report, "prepare-classification", "classify.data.expectations")
    _tell(job, found)
    folder = job.scratch / "examples"
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
        "columns": found.columns_found,
        **left_out,
        "rejected": dict(found.reasons),
        **source.facts(),
        "validation": report.document(),
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
        "source_path": source.path,
    }
    return Outcome({"examples": examples}, result)


def _tell(job: Job, found: Rows[Labelled]) -> None:
    """Everything that was left out, with its reason; of contradictions, what they are."""
    if found.reasons:
        job.observe(Noted(f"left out: {found.left_out()}"))
    if conflicts := found.rejected_for("label-conflict"):
        shown = tuple((row.id, row.detail, " ".join(row.text.split())[:60]) for row in conflicts[:_SHOWN])
        job.observe(Tabled(("row", "label conflict", "text"), shown))
