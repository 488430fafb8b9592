"""The work of `prepare-instructions`: questions with answers, repetitions out, judged by Great Expectations, split, published."""

from flows.pipeline.stage import Job, Outcome
from flows.stage_settings import Asking
from flows.work.judged_rows import facts_of, judge_rows
from infra.store.manifest import content_version, describe, publish
from llm.data.config import PYTHON_STDLIB
from llm.data.instruction_sources import SECTION, gather
from llm.data.instructions import write_instructions
from llm.events import Noted


def work(job: Job, settings: Asking) -> Outcome:
    data = settings.data
    gathered = gather(data, settings.corpus, data.cleaning)
    job.observe(Noted(gathered.source.summary))
    report, told = judge_rows(job, gathered, data, settings.expectations, stage="prepare-instructions", section=SECTION)
    folder, found = job.scratch / "examples", gathered.rows
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
        **left_out,
        **facts_of(gathered, report, told),
    }
    version = content_version(describe(folder))
    job.still_ours()
    examples = publish(job.store, f"datasets/{data.dataset_name}/{version}", folder, facts)
    result = {
        "rows": counted["rows"],
        "test_rows": counted["splits"]["test"],
        **left_out,
        "expectations": len(report.rows),
        "source_path": gathered.source.path,
    }
    return Outcome({"examples": examples, "validation": told}, result)
