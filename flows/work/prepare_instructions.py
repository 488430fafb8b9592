"""The work of `prepare-instructions`: questions with answers, repetitions out, judged by Great Expectations, split, published."""

from dataclasses import asdict

from flows.pipeline.stage import Job, Outcome
from flows.stages import Asking
from flows.work.verdict import show_verdict
from infra.store.manifest import content_version, describe, publish
from infra.validation import validate
from llm.data.config import PYTHON_STDLIB
from llm.data.instruction_sources import gather
from llm.data.instructions import write_instructions
from llm.data.kinds.sources import USUAL
from llm.events import Noted


def work(job: Job, settings: Asking) -> Outcome:
    data = settings.data
    gathered = gather(data, settings.corpus, USUAL)
    found, source = gathered.rows, gathered.source
    job.observe(Noted(source.summary))
    report = validate(found.numbers(), found.sample(), asdict(settings.expectations), kind="instruction")
    show_verdict(job, report, "prepare-instructions", "instruct.data.expectations")
    if found.reasons:
        job.observe(Noted(f"left out: {found.left_out()}"))
    folder = job.scratch / "examples"
    counted = write_instructions(found.kept, gathered.splits, folder)
    gathered.check_unchanged(data.path)
    left_out = {
        "invalid": len(found.wrong),
        "duplicates": found.reasons.get("exact-duplicate", 0),
        "seen": found.reasons.get("contamination", 0),
    }
    facts = {
        "kind": "instruction",
        "name": data.dataset_name,
        **counted,
        "split_by": "document, as in pretraining" if data.path == PYTHON_STDLIB else "question",
        "columns": found.columns_found,
        **left_out,
        "rejected": dict(found.reasons),
        **source.facts(),
        "validation": report.document(),
    }
    version = content_version(describe(folder))
    job.still_ours()
    examples = publish(job.store, f"datasets/{data.dataset_name}/{version}", folder, facts)
    result = {
        "rows": counted["rows"],
        "test_rows": counted["splits"]["test"],
        **left_out,
        "expectations": len(report.rows),
        "source_path": source.path,
    }
    return Outcome({"examples": examples}, result)
