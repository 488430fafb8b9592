"""The work of `prepare-classification`: labelled texts, repetitions out, judged by Great Expectations, split, published."""

from collections.abc import Sequence
from dataclasses import asdict

from flows.pipeline.stage import Job, Outcome
from flows.stages import Labelling
from flows.work.verdict import show_verdict
from infra.store.errors import InputError
from infra.store.manifest import content_version, describe, publish
from infra.validation import validate
from llm.data.classification import Distinct, distinct, split_as_pretrained, split_by_text, write_examples
from llm.data.config import PYTHON_STDLIB
from llm.data.documents import Document
from llm.data.labelled import by_part, inspect, read_rows, stdlib_documents
from llm.data.tokens import Split
from llm.events import Noted, Tabled

_SHOWN = 5


def work(job: Job, settings: Labelling) -> Outcome:
    data, stdlib = settings.data, settings.data.path == PYTHON_STDLIB
    source = inspect(data, settings.corpus)
    job.observe(Noted(source.summary))
    documents = stdlib_documents(settings.corpus) if stdlib else []
    found = distinct(by_part(documents) if stdlib else read_rows(data))
    report = validate(found.numbers(), found.sample(), asdict(settings.expectations))
    show_verdict(job, report, "prepare-classification", "classify.data.expectations")
    _tell(job, found)
    folder = job.scratch / "examples"
    counted = write_examples(found.kept, _splits(found, documents, settings), folder)
    if inspect(data, settings.corpus).version != source.version:
        raise InputError("changed while it was read", where=data.path, mend="Start again when nobody writes to it.")
    facts = {
        "kind": "classification",
        "name": data.dataset_name,
        **counted,
        "split_by": "document, as in pretraining" if stdlib else "text",
        "empty": len(found.empty),
        "duplicates": len(found.duplicates),
        "conflicts": len(found.conflicts),
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
        "duplicates": len(found.duplicates),
        "conflicts": len(found.conflicts),
        "expectations": len(report.rows),
        "source_path": source.path,
    }
    return Outcome({"examples": examples}, result)


def _splits(found: Distinct, documents: Sequence[Document], settings: Labelling) -> tuple[Split, ...]:
    shares = {"validation_share": settings.validation_share, "test_share": settings.test_share}
    return split_as_pretrained(found.kept, documents, **shares) if documents else split_by_text(found.kept, **shares)


def _tell(job: Job, found: Distinct) -> None:
    if found.duplicates:
        job.observe(Noted(f"left out, since an earlier row has the same text: {len(found.duplicates):,}"))
    if found.conflicts:
        job.observe(Noted(f"left out, since their text has another label elsewhere: {len(found.conflicts):,}"))
        shown = tuple((row.id, row.label, " ".join(row.text.split())[:60]) for row in found.conflicts[:_SHOWN])
        job.observe(Tabled(("row", "label", "text"), shown))
