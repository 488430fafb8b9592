"""What a training run read at one step, whichever attempt or worker read it."""

from collections.abc import Callable, Mapping
from typing import Final

from flows.lineage.batch import Batch
from flows.lineage.batch_documents import of_documents
from flows.lineage.batch_examples import of_chats, of_texts
from flows.lineage.shelf import Shelf
from flows.pipeline.records import Record
from infra.store.errors import InputError


def decode_step(shelf: Shelf, record: Record, step: int) -> Batch:
    """The batch that `record`'s run trained on at `step`, whichever attempt or worker read it.

    Raises InputError for a stage that does not train or a step that it did not make, DamagedError for shards that changed.
    """
    decode = _DECODERS.get(record.stage)
    if decode is None:
        raise InputError(f"{record.stage} has no steps: it does not train", where=record.run, mend="Name a training run.")
    steps = record.result.get("steps")
    if not isinstance(steps, int) or not 1 <= step <= steps:
        raise InputError(f"no step {step}: it made {steps}, counted from 1", where=record.run, mend="Name a step of it.")
    return decode(shelf, record, step, steps)


_DECODERS: Final[Mapping[str, Callable[[Shelf, Record, int, int], Batch]]] = {
    "pretrain": of_documents,
    "finetune-classify": of_texts,
    "finetune-instruct": of_chats,
}
