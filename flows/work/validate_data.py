"""The work of `validate-data`: gather documents, profile them on the way, let Great Expectations judge, publish the corpus."""

from dataclasses import asdict

from flows.pipeline.stage import Job, Outcome
from flows.stages import Gathering
from flows.work.verdict import show_verdict
from infra.store.errors import InputError
from infra.validation import validate
from llm.data.corpus import corpus_facts, publish_corpus, write_corpus
from llm.data.profile import Profiler
from llm.data.sources import documents, inspect
from llm.events import Noted


def work(job: Job, settings: Gathering) -> Outcome:
    data = settings.data
    source, profiler, folder = inspect(data.path, data), Profiler(), job.scratch / "corpus"
    job.observe(Noted(source.summary))
    stats = write_corpus(profiler.watch(documents(data.path, data)), folder)
    profile = profiler.result()
    report = validate(profile.numbers, profile.sample(), asdict(data.expectations))
    show_verdict(job, report, "validate-data", "data.expectations")
    if inspect(data.path, data).version != source.version:
        raise InputError("changed while it was read", where=data.path, mend="Start again when nobody writes to it.")
    job.still_ours()
    corpus = publish_corpus(job.store, folder, data.dataset_name, corpus_facts(data.dataset_name, source, stats, report.document()))
    result = {
        "documents": stats.rows,
        "bytes": stats.bytes,
        "duplicates": stats.duplicates,
        "expectations": len(report.rows),
        "source_path": source.path,
    }
    return Outcome({"corpus": corpus}, result)
