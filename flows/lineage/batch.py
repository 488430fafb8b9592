"""A batch for people: its rows, and the documents or the example that each is made of; and what a decoder asks of a record."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from flows.lineage.shelf import Shelf
from flows.pipeline.records import Record
from infra.store.errors import InputError
from infra.store.manifest import Thing


@dataclass(frozen=True)
class Part:
    """A document, or what of it lies in a row: its tokens `first` to `last` (from 0, last included) of `tokens`.

    `id`, `parent` and `source` are the corpus's words for it, None where the corpus is gone.
    """

    id: str | None
    parent: str | None
    source: str | None
    number: int
    first: int
    last: int
    tokens: int
    text: str


@dataclass(frozen=True)
class BatchRow:
    """One row: `ids` as the model read them (inputs and, shifted by one, targets), and the documents it is made of.

    Of a finetuning it is one example; of a classifier's, without ids.
    """

    ids: tuple[int, ...]
    parts: tuple[Part, ...]
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Batch:
    """All rows of one step (from 1, as in the metrics). `notes` say what could not be told or does not fit."""

    run: str
    stage: str
    step: int
    steps: int
    rows: tuple[BatchRow, ...]
    notes: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        return asdict(self)


def training_of(record: Record) -> Mapping[str, Any]:
    """How it trained: a pretraining's section `training`, or the whole settings of a finetuning. Raises InputError."""
    settings = record.identity.get("settings")
    training = settings.get("training", settings) if isinstance(settings, Mapping) else None
    if not isinstance(training, Mapping) or not {"batch_size", "seed"} <= {*training}:
        raise InputError("its record does not say how it trained", where=record.run, mend="Put the record back from a copy.")
    return training


def needed(shelf: Shelf, record: Record, role: str) -> Thing:
    """An input without which nothing can be decoded. Raises InputError where it is gone."""
    version = str(record.identity["inputs"].get(role))
    prefix = shelf.holding(version)
    found = shelf.thing(prefix) if prefix else f"nothing in the store has the version {version}"
    if isinstance(found, str):
        raise InputError(f"its {role} cannot be read: {found}", where=record.run, mend="Put it back from a copy of the store.")
    return found
