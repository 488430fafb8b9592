"""A small corpus in a store, written with pyarrow alone: row groups of a few documents, over several files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from infra.store.manifest import Thing, publish
from infra.store.protocol import Store

WORDS = "the a cat dog sat ran on under mat house red small and then quickly home naïve 猫".split()


@dataclass(frozen=True)
class Text:
    """A document, or a passage of one."""

    id: str
    parent: str
    source: str
    text: str


def texts(n: int, passages: int = 1, source: str = "notes.jsonl", words: int = 12, seed: int = 0) -> list[Text]:
    """Documents of unequal length, of about so many words, none like another."""
    random = np.random.default_rng(seed)

    def text(i: int, p: int) -> str:
        return f"{i}.{p} of {source}: " + " ".join(random.choice(WORDS, int(random.integers(1, 2 * words))))

    return [Text(f"{source}:{i}.{p}", f"{source}:{i}", source, text(i, p)) for i in range(n) for p in range(passages)]


def write_corpus(
    store: Store, folder: Path, documents: Sequence[Text], *, name: str = "notes", group: int = 20, file: int = 70, **facts: Any
) -> Thing:
    """group, file: documents in one row group, and in one file."""
    folder.mkdir(parents=True)
    for number, start in enumerate(range(0, len(documents), file)):
        rows = documents[start : start + file]
        table = pa.table({field: [getattr(row, field) for row in rows] for field in ("id", "parent", "source", "text")})
        pq.write_table(
            table, folder / f"corpus-{number:05d}.parquet", compression="zstd", row_group_size=group, use_dictionary=False
        )
    about = {"kind": "corpus", "name": name, "rows": len(documents), "licence": "CC0", "interpreter": "", "sources": [], **facts}
    return publish(store, f"datasets/{name}/1", folder, about)
