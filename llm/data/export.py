"""A dataset for `datasets` and whoever else reads Parquet or Arrow: one table a split, whatever the kind."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from infra.store.errors import InputError
from infra.store.manifest import Thing
from llm.data import classification, instructions, preferences
from llm.data.splitting import SPLITS, Split
from llm.data.token_parts import corpus_files
from llm.data.tokens import TokenStream

Format = Literal["parquet", "arrow"]
TOKENIZER: Final = "tokenizer"
_AT_ONCE: Final = 1 << 20  # tokens in one row group
_ROWS: Final = {
    "instruction": instructions.FILE,
    "preference": preferences.FILE,
    "classification": classification.FILE,
}


def export_dataset(dataset: Thing, folder: Path, form: Format) -> dict[str, int]:
    """Writes into an empty folder what `load_dataset("parquet", data_dir=...)` or `load_from_disk` reads; rows of each split.

    tokens: documents of `input_ids` (int32), with the bos and eos they are trained with; what decodes them lies in the folder
    `tokenizer`. corpus: `id`, `parent`, `source` and `text` of each passage, all in `train`. instruction: `id`, `messages`;
    preference: `id`, `prompt`, `chosen`, `rejected`; classification: `id`, `text`, `label`. Raises InputError for another kind.
    """
    if form == "parquet":
        counts = _write_splits(dataset, folder)
    else:
        import datasets  # seconds, and this form alone is its own

        datasets.disable_progress_bars()
        with TemporaryDirectory(prefix=".parquet-", dir=folder.parent) as parquet:
            counts = _write_splits(dataset, Path(parquet))
            files = {split: str(Path(parquet, _name(split))) for split in counts}
            datasets.load_dataset("parquet", data_files=files, cache_dir=f"{parquet}/cache").save_to_disk(folder)
    if dataset.facts["kind"] == "tokens":
        _copy_tokenizer(dataset, folder)
    return counts


def _write_splits(dataset: Thing, folder: Path) -> dict[str, int]:
    """A Parquet file a split."""
    kind = str(dataset.facts.get("kind"))
    if kind == "corpus":
        return {"train": _write(_passages(dataset), folder / _name("train"))}
    if kind == "tokens":
        tables = {split: _documents(dataset, split) for split in SPLITS}
    elif kind in _ROWS:
        tables = {split: _rows(dataset, _ROWS[kind], split) for split in SPLITS}
    else:
        raise InputError(f"a dataset of the kind {kind!r} has no rows to export", where=dataset.prefix, mend="Name a dataset.")
    return {split: rows for split, table in tables.items() if (rows := _write(table, folder / _name(split)))}


def _name(split: str) -> str:
    return f"{split}-00000-of-00001.parquet"  # the name by which `datasets` knows the split


def _write(tables: Iterator[pa.Table], path: Path) -> int:
    """Each table a row group; no file where there are no rows."""
    writer: pq.ParquetWriter | None = None
    rows = 0
    for table in tables:
        if table.num_rows:
            writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table, row_group_size=table.num_rows)
            rows += table.num_rows
    if writer:
        writer.close()
    return rows


def _documents(dataset: Thing, split: Split) -> Iterator[pa.Table]:
    stream = TokenStream(dataset, split)
    bounds = np.append(stream.document_starts(), len(stream))
    start = 0
    while start < len(bounds) - 1:
        end = max(start + 1, int(np.searchsorted(bounds, bounds[start] + _AT_ONCE, side="right")) - 1)
        ids = stream.read(int(bounds[start]), int(bounds[end] - bounds[start])).astype(np.int32)
        offsets = pa.array((bounds[start : end + 1] - bounds[start]).astype(np.int32))
        yield pa.table({"input_ids": pa.ListArray.from_arrays(offsets, pa.array(ids))})
        start = end


def _rows(dataset: Thing, file: str, split: Split) -> Iterator[pa.Table]:
    yield pq.read_table(dataset.path(file), filters=[("split", "=", split)]).drop_columns(["split"])


def _passages(corpus: Thing) -> Iterator[pa.Table]:
    for name in corpus_files(corpus):
        with pq.ParquetFile(corpus.path(name)) as file:
            yield from (file.read_row_group(group) for group in range(file.num_row_groups))


def _copy_tokenizer(dataset: Thing, folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        target = folder / TOKENIZER / name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(dataset.path(name).read_bytes())
