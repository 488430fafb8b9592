"""From sources to a corpus that waits to be judged and published: the one way in."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, TypeVar

from infra.store.manifest import MANIFEST, content_version, describe, load, publish
from infra.store.protocol import Store
from llm.data.cleaning.config import CleaningConfig
from llm.data.cleaning.contamination import NgramIndex
from llm.data.cleaning.language import main_language
from llm.data.corpus import CorpusStats, write_corpus
from llm.data.documents import Document
from llm.data.evaluation_sets import EvaluationSets
from llm.data.gathering.columns import first_column, likely_column
from llm.data.gathering.merge import Finished, Merge
from llm.data.gathering.part import INDEX, Place, make_part
from llm.data.gathering.plan import PART_BYTES, Part, Source, cut
from llm.data.gathering.tables import FINDINGS, REJECTED, Table, total
from llm.data.reading.rows import read_file
from llm.data.rows import Row
from llm.events import Noted, Observer, Progress, ignore

I = TypeVar("I")  # noqa: E741  # an item
R = TypeVar("R")
_SAMPLED, _SAMPLED_FILES = 300, 50  # the language of a corpus is told by three hundred documents, of fifty files of each source
_TOLD_EVERY = 1000
_TRIED = 200


class RunTasks(Protocol):
    """`infra.tasks.run_tasks` with workers and address given."""

    def __call__(
        self, function: Callable[[I], R], items: Sequence[I], *, name: Callable[[I], str], progress: Callable[[int, int], None]
    ) -> list[R]: ...


@dataclass(frozen=True)
class SourceCounts:
    """Of one source: rows read, documents kept, and their UTF-8 bytes as they were read and as they are kept.

    encodings: lines of text files by their encoding. columns: rows by the column that their text was read from.
    """

    rows: int
    kept: int
    bytes_read: int
    bytes_kept: int
    encodings: Mapping[str, int]
    columns: Mapping[str, int]


@dataclass(frozen=True)
class Gathered:
    """What became of every row: `rows == kept + sum(rejected.values())`.

    rejected: rows by reason. found, found_rows: what was found in documents that are kept, and in how many of them, by kind.
    recall: of questions of the evaluation sets, put into kept documents as a test, those that are found again. stats: of the
    passages that were written. sources: by name. corpus: a folder of shards. rejected_file, findings_file: Parquet.
    """

    rows: int
    kept: int
    rejected: Mapping[str, int]
    found: Mapping[str, int]
    found_rows: Mapping[str, int]
    stats: CorpusStats
    sources: Mapping[str, SourceCounts]
    main_language: str
    recall: float | None
    corpus: Path
    rejected_file: Path
    findings_file: Path


def gather(
    sources: Sequence[Source],
    config: CleaningConfig,
    *,
    store: Store,
    key: str,
    folder: Path,
    max_document_bytes: int = 8192,
    run: RunTasks | None = None,
    observe: Observer = ignore,
    watch: Callable[[Iterable[Document]], Iterable[Document]] = iter,
    evaluation_texts: Mapping[str, Iterable[str]] = MappingProxyType({}),
    part_bytes: int = PART_BYTES,
) -> Gathered:
    """Reads, cleans and joins the sources, and leaves shards and tables in `folder`, which is empty before.

    Parts are published in `store` under `parts/<key>/` as they are done, and found there by the next call with the same key: of a
    call that was killed no more is lost than the parts that were at work, and the bytes are those of one that was not.
    `remove_parts` takes them away once the corpus is published. run: what has them made by several workers, each of which opens
    the store by its URL; None makes them here. watch: sees every passage on its way into the shards. evaluation_texts: by name,
    beside those of `config.evaluation_sets`.

    Raises InputError for a source without a column of text, or an evaluation set that cannot be read.
    """
    prefix, scratch = f"parts/{key}", folder / "parts"
    scratch.mkdir(parents=True, exist_ok=True)
    for source in sources:
        _note_column(source, observe)
    language = main_language(_sampled(sources)) if _asks_for_language(config) else ""
    if language:
        observe(Noted(f"the documents are in one language, {language}"))
    tested_on = EvaluationSets.of(config, evaluation_texts)
    index = _publish_index(tested_on.index, store, prefix, scratch) if tested_on else ""
    parts = [
        Part(source.name, some, source.text_column, config, language, index)
        for source in sources
        for some in cut(source.found, part_bytes)
    ]
    names = _make(parts, Place(store if run is None else store.url, prefix, str(scratch)), run, observe)
    finished = [Finished(load(store, name), part.name) for name, part in zip(names, parts, strict=True)]
    _note_columns(finished, observe)
    merge = Merge(finished, config, folder, max_document_bytes)
    rejected_file, findings_file = folder / "rejected.parquet", folder / "findings.parquet"
    tried: list[str] = []
    with Table(rejected_file, REJECTED) as rejected, Table(findings_file, FINDINGS) as findings:
        documents = watch(_kept_aside(_told(merge.documents(rejected, findings), observe), tried))
        stats = write_corpus(documents, folder / "corpus", unique=config.duplicates != "keep")
    rows = sum(part.thing.facts["rows"] for part in finished)
    assert rows == merge.kept + merge.rejected.total(), "every row is kept or rejected"
    return Gathered(
        rows=rows,
        kept=merge.kept,
        rejected=total([merge.rejected]),
        found=total([merge.found]),
        found_rows=total([merge.found_rows]),
        stats=stats,
        sources={source.name: _counts(source.name, finished, merge) for source in sources},
        main_language=language,
        recall=tested_on.recall(tried) if tested_on else None,
        corpus=folder / "corpus",
        rejected_file=rejected_file,
        findings_file=findings_file,
    )


def remove_parts(store: Store, key: str) -> None:
    """Takes the parts of a gathering away; manifests first, so that a half-removed part is none."""
    entries = sorted((entry.name for entry in store.list(f"parts/{key}")), key=lambda name: not name.endswith(f"/{MANIFEST}"))
    for name in entries:
        store.delete(name)


def _note_column(source: Source, observe: Observer) -> None:
    column = first_column(source.found, source.text_column)
    if column.found and not source.text_column:
        observe(Noted(f"{source.name}: {column.found}" if source.name else column.found))


def _note_columns(parts: Sequence[Finished], observe: Observer) -> None:
    """Says so where the files differ."""
    rows = total([part.thing.facts["columns"] for part in parts])
    if len(rows) > 1:
        observe(
            Noted(f"the text is in different columns: {', '.join(f'{count:,} rows in {name}' for name, count in rows.items())}")
        )


def _asks_for_language(config: CleaningConfig) -> bool:
    """Whether the main language bears on anything: on what is kept or, where every language is, on what is found."""
    return "main" in config.languages or (not config.languages and config.pii != "ignore")


def _sampled(sources: Sequence[Source]) -> Iterator[str]:
    """The first texts of files that lie evenly among all, the same whenever it is asked."""
    chosen = [
        (file, likely_column(file, source.text_column))
        for source in sources
        for file in source.found.files[:: max(1, -(-len(source.found.files) // _SAMPLED_FILES))]
    ]
    for file, column in chosen:
        texts = (item.fields.get(column) for item in read_file(file, columns=(column,)) if isinstance(item, Row))
        yield from islice((text for text in texts if isinstance(text, str) and text.strip()), max(1, _SAMPLED // len(chosen)))


def _publish_index(index: NgramIndex, store: Store, prefix: str, scratch: Path) -> str:
    """Puts the n-grams of the evaluation sets where every worker finds them: the name of their folder."""
    folder = scratch / "index"
    folder.mkdir(exist_ok=True)
    index.save(folder / INDEX)
    name = f"{prefix}/index-{content_version(describe(folder))}"
    publish(store, name, folder, {"kind": "index"})
    return name


def _kept_aside(documents: Iterable[Document], held: list[str]) -> Iterator[Document]:
    """The same documents; the first of them are held, to try on them what would be found."""
    for document in documents:
        if len(held) < _TRIED:
            held.append(document.text)
        yield document


def _make(parts: Sequence[Part], place: Place, run: RunTasks | None, observe: Observer) -> list[str]:
    """The names of the parts in the store, in their order; those that lie there already are not made again."""
    store = place.opened()
    todo = [part for part in parts if not store.exists(f"{place.of(part)}/{MANIFEST}")]
    before = len(parts) - len(todo)
    if before:
        observe(Noted(f"{before:,} of {len(parts):,} parts were done before"))

    def progress(done: int, _: int) -> None:
        observe(Progress("cleaning", before + done, len(parts), "parts"))

    if run is not None:
        run(partial(make_part, place), todo, name=lambda part: part.title, progress=progress)
    else:
        for done, part in enumerate(todo, start=1):
            make_part(place, part)
            progress(done, len(todo))
    return [place.of(part) for part in parts]


def _told(documents: Iterator[Document], observe: Observer) -> Iterator[Document]:
    for number, document in enumerate(documents, start=1):
        yield document
        if number % _TOLD_EVERY == 0:
            observe(Progress("writing", number, 0, "passages"))


def _counts(name: str, parts: Sequence[Finished], merge: Merge) -> SourceCounts:
    facts = [part.thing.facts for part in parts if part.name == name]
    return SourceCounts(
        rows=sum(each["rows"] for each in facts),
        kept=merge.kept_of[name],
        bytes_read=sum(each["bytes"] for each in facts),
        bytes_kept=merge.bytes[name],
        encodings=total([each["encodings"] for each in facts]),
        columns=total([each["columns"] for each in facts]),
    )
