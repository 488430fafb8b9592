"""The work of `prepare-instructions`: questions with answers, repetitions out, judged by Great Expectations, split, published."""

from collections import Counter
from dataclasses import asdict

from flows.pipeline.stage import Job, Outcome
from flows.stages import Asking
from flows.work.verdict import show_verdict
from infra.store.errors import InputError
from infra.store.manifest import content_version, describe, publish
from infra.validation import validate
from llm.data.config import PYTHON_STDLIB
from llm.data.instruction_sources import Gathered, gather, inspect_instructions
from llm.data.instructions import write_instructions
from llm.events import Noted


def work(job: Job, settings: Asking) -> Outcome:
    data, stdlib = settings.data, settings.data.path == PYTHON_STDLIB
    source = inspect_instructions(data, settings.corpus)
    job.observe(Noted(source.summary))
    found = gather(data, settings.corpus)
    report = validate(found.numbers(), found.sample(), asdict(settings.expectations))
    show_verdict(job, report, "prepare-instructions", "instruct.data.expectations")
    _tell(job, found)
    folder = job.scratch / "examples"
    counted = write_instructions(found.rows, found.splits, folder)
    if inspect_instructions(data, settings.corpus).version != source.version:
        raise InputError("changed while it was read", where=data.path, mend="Start again when nobody writes to it.")
    facts = {
        "kind": "instruction",
        "name": data.dataset_name,
        **counted,
        "split_by": "document, as in pretraining" if stdlib else "question",
        "invalid": len(found.wrong),
        "duplicates": found.duplicates,
        "seen": found.seen,
        **source.facts(),
        "validation": report.document(),
    }
    version = content_version(describe(folder))
    job.still_ours()
    examples = publish(job.store, f"datasets/{data.dataset_name}/{version}", folder, facts)
    result = {
        "rows": counted["rows"],
        "test_rows": counted["splits"]["test"],
        "invalid": len(found.wrong),
        "duplicates": found.duplicates,
        "seen": found.seen,
        "expectations": len(report.rows),
        "source_path": source.path,
    }
    return Outcome({"examples": examples}, result)


def _tell(job: Job, found: Gathered) -> None:
    """Everything that was left out, with its reason."""
    kinds = Counter(each.kind for each in found.wrong)
    notes = [f"{count:,} rows with a fault ({kind})" for kind, count in kinds.most_common()]
    notes += [f"{found.duplicates:,} that repeat an earlier one"] if found.duplicates else []
    notes += [f"{found.seen:,} held-out answers that also stand in training documents"] if found.seen else []
    if notes:
        job.observe(Noted(f"left out: {'; '.join(notes)}"))
