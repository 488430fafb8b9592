"""The work of `validate-data`: sources gathered and cleaned in parts, profiled on the way, judged, published as a corpus."""

import os
from functools import partial

from flows.pipeline.stage import Job, Outcome
from flows.reporting import FINDINGS, REJECTED, Gathered
from flows.stage_settings import Gathering
from flows.work.verdict import put_before_the_gate
from infra.store.errors import InputError
from infra.tasks import run_tasks
from llm.data.corpus import corpus_facts, publish_corpus
from llm.data.corpus_sources import corpus_sources
from llm.data.gathering.counts import counted, rejected_rows
from llm.data.gathering.gather import gather, remove_parts
from llm.data.profile import Profiler
from llm.events import Noted


def work(job: Job, settings: Gathering) -> Outcome:
    data, rules, name, cluster = settings.data, settings.cleaning, settings.data.dataset_name, job.settings.ray_address
    sources = corpus_sources(data)
    job.observe(Noted(sources.whole.summary))
    profiler = Profiler(duplicates=rules.duplicates == "keep")
    gathered = gather(
        sources.each,
        rules,
        store=job.store,
        key=job.key,
        folder=job.scratch / "gathered",
        max_document_bytes=data.max_document_bytes,
        run=partial(run_tasks, workers=data.workers or (0 if cluster else os.cpu_count() or 1), address=cluster),
        observe=job.observe,
        watch=profiler.watch,
    )
    if corpus_sources(data).whole.version != sources.whole.version:
        raise InputError("changed while it was read", where=sources.place, mend="Start again when nobody writes to it.")
    counts = counted(gathered, rules)
    profile = profiler.result(counts)
    validation = job.scratch / "validation"
    validation.mkdir()
    gathered.rejected_file.rename(validation / REJECTED)
    gathered.findings_file.rename(validation / FINDINGS)
    rejected = rejected_rows(validation / REJECTED)
    judged = Gathered("corpus", name, sources.place, sources.whole, profile, counts, rejected)
    report, told = put_before_the_gate(job, judged, validation, settings.expectations, stage="validate-data", section="data")
    job.still_ours()
    facts = {
        "rows_read": gathered.rows,
        "rejected": dict(gathered.rejected),
        "found": dict(gathered.found),
        "found_rows": dict(gathered.found_rows),
        "mixture": {name: counts.bytes_kept for name, counts in gathered.sources.items()} if data.sources else {},
        "profile": profile.document(),
        "report": told.prefix,
    }
    corpus = publish_corpus(
        job.store, gathered.corpus, name, corpus_facts(name, sources.whole, gathered.stats, report.document()) | facts
    )
    remove_parts(job.store, job.key)
    result = {
        "documents": gathered.stats.rows,
        "bytes": gathered.stats.bytes,
        "rows": gathered.rows,
        "rejected": sum(gathered.rejected.values()),
        "duplicates": gathered.stats.duplicates + gathered.rejected.get("exact-duplicate", 0),
        "expectations": len(report.rows),
        "source_path": sources.path,
    }
    return Outcome({"corpus": corpus, "validation": told}, result)
