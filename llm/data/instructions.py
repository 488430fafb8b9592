"""Instructions as a dataset: chats that end with an answer, split by question, one Parquet file, a manifest that counts them."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from infra.store.manifest import Thing
from llm.data.splitting import SPLITS, Split, split_documents
from llm.text.chat import Message

FILE: Final = "instructions.parquet"
_MESSAGE: Final = pa.struct([pa.field(name, pa.string(), nullable=False) for name in ("role", "content")])
MESSAGES: Final = pa.list_(pa.field("item", _MESSAGE, nullable=False))
_SCHEMA: Final = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("messages", MESSAGES, nullable=False),
    ]
)


@dataclass(frozen=True)
class Instruction:
    """A chat whose last message is the assistant's. `id` says where it came from: `file:row`, or a dotted name."""

    id: str
    messages: tuple[Message, ...]

    @property
    def prompt(self) -> tuple[Message, ...]:
        """All that stands before the last answer."""
        return self.messages[:-1]

    @property
    def question(self) -> str:
        """What the last answer answers."""
        return self.messages[-2]["content"]

    @property
    def answer(self) -> str:
        """The last message, without the white space around it that a chat drops."""
        return self.messages[-1]["content"].strip()


def ask(row_id: str, question: str, answer: str, system: str = "") -> Instruction:
    """A question and its answer as a chat."""
    before: tuple[Message, ...] = ({"role": "system", "content": system},) if system else ()
    return Instruction(row_id, (*before, {"role": "user", "content": question}, {"role": "assistant", "content": answer}))


def split_by_question(rows: Sequence[Instruction], *, validation_share: float, test_share: float) -> tuple[Split, ...]:
    """By hash of what the first user message asks, so that a question with several answers, or a chat cut in two, stays together.

    Raises InputError for fewer than three questions.
    """
    asked = (digest(next(each["content"] for each in row.messages if each["role"] == "user")) for row in rows)
    return split_by_asked(asked, validation_share=validation_share, test_share=test_share)


def split_by_asked(asked: Iterable[str], *, validation_share: float, test_share: float) -> tuple[Split, ...]:
    """The split of each row, by the digest of what it asks. Raises InputError for fewer than three different ones."""
    return split_documents(map(_Asked, asked), validation_share=validation_share, test_share=test_share).splits


def digest(*texts: str) -> str:
    """What makes two questions the same: their words, whatever the white space and case."""
    return hashlib.sha256("\0".join(" ".join(text.split()).casefold() for text in texts).encode()).hexdigest()


def write_instructions(rows: Sequence[Instruction], splits: Sequence[Split], folder: Path) -> dict[str, Any]:
    """Writes the file and returns what its manifest says of the rows: how many in all and in each split."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = {"id": [row.id for row in rows], "split": list(splits), "messages": [list(row.messages) for row in rows]}
    pq.write_table(pa.Table.from_pydict(columns, schema=_SCHEMA), folder / FILE, compression="zstd")
    counts = Counter(splits)
    return {"rows": len(rows), "splits": {split: counts[split] for split in SPLITS}}


def read_instructions(dataset: Thing, split: Split) -> list[Instruction]:
    """The rows of a split, in their order. Raises DamagedError for a file that was changed."""
    table = pq.read_table(dataset.path(FILE), filters=[("split", "=", split)])
    return [Instruction(row["id"], tuple(row["messages"])) for row in table.to_pylist()]


@dataclass(frozen=True)
class _Asked:
    """A question, in the place of the document that `split_documents` asks for."""

    id: str
    text: str = ""

    @property
    def parent(self) -> str:
        return self.id
