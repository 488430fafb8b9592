"""Labelled texts as a dataset: repetitions out, split by text, one Parquet file and a manifest that counts it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from infra.store.errors import InputError
from infra.store.manifest import Thing
from llm.data.documents import Document
from llm.data.kinds.classification import Labelled, normalised
from llm.data.splitting import SPLITS, Split, split_documents

FILE: Final = "examples.parquet"
_SCHEMA: Final = pa.schema([pa.field(name, pa.string(), nullable=False) for name in ("id", "text", "label", "split")])


def split_by_text(rows: Sequence[Labelled], *, validation_share: float, test_share: float) -> tuple[Split, ...]:
    """The split of each row, by hash of its text: the same text always lands in the same one, whatever file it comes in."""
    units = [_Unit(hashlib.sha256(normalised(row.text).encode()).hexdigest(), row.text) for row in rows]
    return split_documents(units, validation_share=validation_share, test_share=test_share).splits


def split_as_pretrained(
    rows: Sequence[Labelled], documents: Sequence[Document], *, validation_share: float, test_share: float
) -> tuple[Split, ...]:
    """The split that pretraining on `documents` gives each row's text: what a base model learnt from is never tested on.

    Where a text occurs in several documents, it is held back only if all of them are.
    """
    splitting = split_documents(documents, validation_share=validation_share, test_share=test_share)
    least: dict[str, Split] = {}
    for document, split in zip(documents, splitting.splits, strict=True):
        text = normalised(document.text)
        least[text] = min(split, least.get(text, split), key=SPLITS.index)
    return tuple(least[normalised(row.text)] for row in rows)


def write_examples(rows: Sequence[Labelled], splits: Sequence[Split], folder: Path) -> dict[str, Any]:
    """Writes the file and returns what the manifest says of it: the labels, and how many rows each has in each split.

    Raises InputError where a label has no row to train on, or a split none at all.
    """
    labels = sorted({row.label for row in rows})
    counts = {split: dict.fromkeys(labels, 0) for split in SPLITS}
    for row, split in zip(rows, splits, strict=True):
        counts[split][row.label] += 1
    _check(counts)
    folder.mkdir(parents=True, exist_ok=True)
    columns = {name: [getattr(row, name) for row in rows] for name in ("id", "text", "label")} | {"split": list(splits)}
    pq.write_table(pa.Table.from_pydict(columns, schema=_SCHEMA), folder / FILE, compression="zstd")
    return {"labels": labels, "rows": len(rows), "splits": counts}


def read_examples(dataset: Thing, split: Split) -> list[Labelled]:
    """The rows of a split, in their order. Raises DamagedError for a file that was changed."""
    table = pq.read_table(dataset.path(FILE), filters=[("split", "=", split)])
    return [Labelled(row["id"], row["text"], row["label"]) for row in table.to_pylist()]


@dataclass(frozen=True)
class _Unit:
    """A text as `split_documents` takes it: named by its content."""

    id: str
    text: str

    @property
    def parent(self) -> str:
        return self.id


def _check(counts: Mapping[Split, Mapping[str, int]]) -> None:
    if untaught := [label for label, count in counts["train"].items() if not count]:
        raise InputError(
            f"label {untaught[0]!r} has no row to train on: all of its rows are held back",
            where="prepare-classification",
            mend="Give more rows of it, or hold back less (classify.data.validation_share, classify.data.test_share).",
        )
    if bare := [split for split, of in counts.items() if not sum(of.values())]:
        raise InputError(f"no row is left for {bare[0]}", where="prepare-classification", mend="Give more rows.")
