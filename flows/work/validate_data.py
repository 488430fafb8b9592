"""The work of `validate-data`: gather documents, profile them on the way, let Great Expectations judge, publish the corpus."""

from dataclasses import asdict

from flows.pipeline.artifacts import show_table
from flows.pipeline.stage import Job, Outcome
from flows.stages import Gathering
from infra.store.errors import InputError, RefusedError
from infra.validation import Report, validate
from llm.data.corpus import corpus_facts, publish_corpus, write_corpus
from llm.data.profile import Profiler
from llm.data.sources import documents, inspect
from llm.events import Noted, Tabled

_HEAD = ("expectation", "observed", "limit", "passed")


def work(job: Job, settings: Gathering) -> Outcome:
    data = settings.data
    source, profiler, folder = inspect(data.path, data), Profiler(), job.scratch / "corpus"
    job.observe(Noted(source.summary))
    stats = write_corpus(profiler.watch(documents(data.path, data)), folder)
    profile = profiler.result()
    report = validate(profile.numbers, profile.sample(), asdict(data.expectations))
    _show(job, report)
    if inspect(data.path, data).version != source.version:
        raise InputError("changed while it was read", where=data.path, mend="Start again when nobody writes to it.")
    job.still_ours()
    corpus = publish_corpus(job.store, folder, data.dataset_name, corpus_facts(data.dataset_name, source, stats, report.document()))
    result = {"documents": stats.rows, "bytes": stats.bytes, "duplicates": stats.duplicates, "expectations": len(report.rows)}
    return Outcome({"corpus": corpus}, result)


def _show(job: Job, report: Report) -> None:
    """The verdict in Prefect's UI; where it is no, on the terminal too, and the end of the flow."""
    rows = [(row.expectation, _number(row.observed), row.limit, "yes" if row.passed else "NO") for row in report.rows]
    examples = ["\n".join(row.examples) for row in report.rows]
    with_examples = [(*row, shown) for row, shown in zip(rows, examples, strict=True)]
    show_table("data-validation", (*_HEAD, "sample rows"), with_examples, "What Great Expectations found in the documents")
    failed = [row for row in report.rows if not row.passed]
    if failed:
        job.observe(Tabled(_HEAD, tuple(rows)))
        shown = tuple((row.expectation, example) for row in failed for example in row.examples)
        job.observe(Tabled(("failed", "sample row"), shown))
        raise RefusedError(
            f"{len(failed)} of {len(rows)} expectations failed: {', '.join(row.expectation for row in failed)}",
            where="validate-data",
            mend="Mend the data (the table shows rows of it), or change a limit with --set data.expectations.NAME=VALUE.",
        )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.4g}"
