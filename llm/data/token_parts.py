"""A corpus tokenized part by part: each is finished, kept and found again by itself; at the end all are joined into shards."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from infra.store.manifest import Thing
from llm.data.encoding import BATCH_BYTES, Encoded, encode_documents, token_dtype
from llm.data.mixed_documents import Copies, MixWriter, mix_of
from llm.data.splitting import SPLITS, Split, SplitRule
from llm.data.tokens import SHARD_TOKENS, ShardWriters, SplitCounts
from llm.text.tokenizer import Tokenizer

PART_BYTES: Final = 32_000_000  # of text: some seconds of work, what a kill costs at most
_COLUMNS: Final = ["id", "parent", "source", "text"]
_NAMES: Final = 1 << 16  # that are read at once
_WHOLE: Final = 1 << 62  # tokens of a shard that is never full


@dataclass(frozen=True)
class Span:
    """Row groups `first` to `end` (from 0, end not included) of a file of a corpus."""

    file: str
    first: int
    end: int


@dataclass(frozen=True)
class Part:
    """Row groups that follow each other, their documents and their bytes of text as Parquet counts them."""

    spans: tuple[Span, ...]
    rows: int
    bytes: int


def plan_parts(corpus: Thing, part_bytes: int = PART_BYTES) -> list[Part]:
    """The corpus in parts of about so much text, by its files' own row groups: the same on every machine."""
    parts: list[Part] = []
    spans: list[Span] = []
    rows = size = 0
    for name in corpus_files(corpus):
        with pq.ParquetFile(corpus.path(name)) as file:
            groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
        text = (
            next((at for at in range(groups[0].num_columns) if groups[0].column(at).path_in_schema == "text"), 0) if groups else 0
        )
        first = 0
        for number, group in enumerate(groups):
            rows, size = rows + group.num_rows, size + group.column(text).total_uncompressed_size
            if size >= part_bytes or number == len(groups) - 1:
                spans.append(Span(name, first, number + 1))
                first = number + 1
            if size >= part_bytes:
                parts.append(Part(tuple(spans), rows, size))
                spans, rows, size = [], 0, 0
    if spans:
        parts.append(Part(tuple(spans), rows, size))
    return parts


def corpus_files(corpus: Thing) -> list[str]:
    """The files of its documents, in their order."""
    return sorted(name for name in corpus.files if name.startswith("corpus-") and name.endswith(".parquet"))


def read_names(corpus: Thing) -> Iterator[tuple[list[str], list[str]]]:
    """Ids and parents of the documents, some at a time; no text is read."""
    return ((ids, parents) for ids, parents in read_columns(corpus, "id", "parent"))


def read_columns(corpus: Thing, *columns: str) -> Iterator[tuple[list[str], ...]]:
    """Columns of the documents, some at a time."""
    for name in corpus_files(corpus):
        with pq.ParquetFile(corpus.path(name)) as file:
            for block in file.iter_batches(_NAMES, columns=list(columns)):
                yield tuple(block.column(column).to_pylist() for column in columns)


def read_blocks(corpus: Thing, part: Part) -> Iterator[pa.RecordBatch]:
    """The documents of a part in blocks of about BATCH_BYTES of text: `id`, `parent`, `source`, `text`."""
    for span in part.spans:
        with pq.ParquetFile(corpus.path(span.file)) as file:
            for number in range(span.first, span.end):
                group = file.metadata.row_group(number)
                at_once = 1 + 4 * BATCH_BYTES * group.num_rows // max(_text_bytes(group), 1)
                for rows in file.iter_batches(at_once, row_groups=[number], columns=_COLUMNS):
                    yield from _cut(rows)


def _cut(rows: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    ends, start = np.cumsum(text_sizes(rows)), 0
    while start < len(ends):
        before = int(ends[start - 1]) if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + BATCH_BYTES, side="right")))
        yield rows.slice(start, end - start)
        start = end


def _text_bytes(group: pq.RowGroupMetaData) -> int:
    columns = (group.column(place) for place in range(group.num_columns))
    return sum(column.total_uncompressed_size for column in columns if column.path_in_schema == "text")


def text_sizes(block: pa.RecordBatch) -> NDArray[np.int64]:
    """Bytes of UTF-8 of each text."""
    sizes: NDArray[np.int64] = pc.binary_length(block.column("text")).to_numpy(zero_copy_only=False).astype(np.int64)
    return sizes


def tokenize_part(
    corpus: Thing,
    part: Part,
    tokenizer: Tokenizer,
    rule: SplitRule,
    folder: Path,
    *,
    sources: Sequence[str] = (),
    progress: Callable[[int], None] = lambda documents: None,
) -> dict[str, Any]:
    """Writes the documents of a part as shards of its own into `folder`; returns what they hold, for the part's manifest.

    sources: where several are mixed, their names; then `train.mix` says of each training document what mixing asks. progress: hears
    how many more documents are done. Raises InputError for a document of no source.
    """
    mixed = MixWriter(folder, tuple(sources)) if sources else None
    with ShardWriters(folder, token_dtype(tokenizer.size), _WHOLE) as writers, mixed or nullcontext():
        texts = ((block, block.column("text").to_pylist()) for block in read_blocks(corpus, part))
        for block, encoded in encode_documents(texts, tokenizer):
            ids, sizes = block.column("id").to_pylist(), text_sizes(block)
            places = rule.of(ids, block.column("parent").to_pylist())
            writers.add(encoded, places, sizes)
            if mixed:
                mixed.add(ids, block.column("source").to_pylist(), sizes, encoded.lengths, places == SPLITS.index("train"))
            progress(len(ids))
    facts: dict[str, Any] = {"kind": "token part", "splits": {split: asdict(count) for split, count in writers.counts().items()}}
    return facts | ({"sources": mixed.tokens()} if mixed else {})


def join_parts(
    parts: Sequence[Thing], folder: Path, dtype: np.dtype[Any], copies: Copies | None = None, *, shard_tokens: int = SHARD_TOKENS
) -> dict[Split, SplitCounts]:
    """Writes all documents into shards in the order of the corpus, those of training that are taken again after all others.

    A copy so stands as far as can be from the one before: no row holds both, unless there is hardly more than that document.
    """
    with ShardWriters(folder, dtype, shard_tokens) as writers:
        for split in SPLITS:
            mixed = copies if split == "train" else None
            for turn in range(max((mixed.most(part) for part in parts), default=0) if mixed else 1):
                for part in parts:
                    chosen = mixed.of(mix_of(part)) > turn if mixed else np.ones(_documents(part, split), dtype=bool)
                    done = 0
                    for encoded in read_part(part, split, dtype):
                        taken = chosen[done : done + len(encoded.lengths)]
                        writers.add_to(split, encoded.select(taken))
                        done += len(taken)
    counts = {split: replace(count, bytes=sum(_bytes(part, split) for part in parts)) for split, count in writers.counts().items()}
    if copies:
        read = sum(int((copies.of(rows := mix_of(part)) * rows["bytes"].astype(np.int64)).sum()) for part in parts)
        counts["train"] = replace(counts["train"], bytes=read)
    return counts


def _documents(part: Thing, split: Split) -> int:
    return int(part.facts["splits"][split]["documents"])


def _bytes(part: Thing, split: Split) -> int:
    return int(part.facts["splits"][split]["bytes"])


def read_part(part: Thing, split: Split, dtype: np.dtype[Any], at_once: int = 1 << 20) -> Iterator[Encoded]:
    """The documents of a split of a part, about so many tokens at a time. Read and not mapped: what is mapped counts as memory."""
    name = f"{split}-00000"
    if f"{name}.bin" not in part.files:
        return
    path = part.path(f"{name}.bin")
    bounds = np.append(
        np.fromfile(part.path(f"{name}.offsets"), dtype="<u8").astype(np.int64), path.stat().st_size // dtype.itemsize
    )
    start = 0
    with path.open("rb") as file:
        while start < len(bounds) - 1:
            end = max(start + 1, int(np.searchsorted(bounds, bounds[start] + at_once, side="right")) - 1)
            ids = np.fromfile(file, dtype=dtype, count=int(bounds[end] - bounds[start]))
            yield Encoded(ids, np.diff(bounds[start : end + 1]))
            start = end
