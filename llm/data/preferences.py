"""Preferences as a dataset: a prompt with an answer that was chosen and one that was not, split by prompt, one Parquet file."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from infra.store.manifest import Thing
from llm.data.instructions import MESSAGES, digest, split_by_asked
from llm.data.splitting import SPLITS, Split
from llm.text.chat import Message

FILE: Final = "preferences.parquet"
_SCHEMA: Final = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("prompt", MESSAGES, nullable=False),
        pa.field("chosen", pa.string(), nullable=False),
        pa.field("rejected", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Preference:
    """Two answers to one prompt, of which somebody chose one. prompt: the chat before them, empty where none was given."""

    id: str
    prompt: tuple[Message, ...]
    chosen: str
    rejected: str

    @property
    def question(self) -> str:
        """What the answers answer; empty without a prompt."""
        return self.prompt[-1]["content"] if self.prompt else ""


def split_by_prompt(rows: Sequence[Preference], *, validation_share: float, test_share: float) -> tuple[Split, ...]:
    """By hash of what the first user message asks, as instructions are: all pairs of a prompt stay together, and where the same
    prompts were finetuned on, each is in the same split again. Pairs without a prompt are split by the chosen answer.

    Raises InputError for fewer than three prompts.
    """
    asked = [next((each["content"] for each in row.prompt if each["role"] == "user"), row.chosen) for row in rows]
    return split_by_asked(map(digest, asked), validation_share=validation_share, test_share=test_share)


def write_preferences(rows: Sequence[Preference], splits: Sequence[Split], folder: Path) -> dict[str, Any]:
    """Writes the file and returns what its manifest says of the rows: how many in all and in each split."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = {
        "id": [row.id for row in rows],
        "split": list(splits),
        "prompt": [list(row.prompt) for row in rows],
        "chosen": [row.chosen for row in rows],
        "rejected": [row.rejected for row in rows],
    }
    pq.write_table(pa.Table.from_pydict(columns, schema=_SCHEMA), folder / FILE, compression="zstd")
    counts = Counter(splits)
    return {"rows": len(rows), "splits": {split: counts[split] for split in SPLITS}}


def read_preferences(dataset: Thing, split: Split) -> list[Preference]:
    """The rows of a split, in their order. Raises DamagedError for a file that was changed."""
    table = pq.read_table(dataset.path(FILE), filters=[("split", "=", split)])
    return [Preference(row["id"], tuple(row["prompt"]), row["chosen"], row["rejected"]) for row in table.to_pylist()]
