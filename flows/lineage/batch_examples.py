"""A batch of finetuning: whole examples, by the order that is a function of seed and step alone."""

from collections.abc import Callable, Sequence

import numpy as np

from flows.lineage.batch import Batch, BatchRow, Part, needed, training_of
from flows.lineage.shelf import Shelf
from flows.pipeline.records import Record
from llm.data.classification import read_examples
from llm.models.hub_config import load_config
from llm.text.chat import MARKERS, ChatFormat
from llm.text.tokenizer import Tokenizer
from llm.training.config import FinetuneConfig
from llm.training.guard import left_of


def of_texts(shelf: Shelf, record: Record, step: int, steps: int) -> Batch:
    examples = read_examples(needed(shelf, record, "examples"), "train")

    def row(number: int, epoch: int) -> BatchRow:
        example = examples[number]
        return BatchRow((), (_whole(example.id, number, example.text, 0),), {"epoch": epoch, "label": example.label})

    return _of_examples(record, step, steps, [1] * len(examples), row)


def of_chats(shelf: Shelf, record: Record, step: int, steps: int) -> Batch:
    from llm.training.instruct import among, fitting, longest  # torch, two seconds, which only these steps need

    base = needed(shelf, record, "base")
    chats = ChatFormat.of(Tokenizer.load(base.folder()).with_control_tokens(MARKERS))
    context_length = load_config(base.folder()).context_length
    length = longest(FinetuneConfig(max_length=training_of(record).get("max_length", 0)), context_length)
    fit = fitting(needed(shelf, record, "examples"), "train", chats, length)

    def row(number: int, epoch: int) -> BatchRow:
        chat, rendered = fit.chats[number], fit.rows[number]
        text = "\n".join(f"{message['role']}: {message['content']}" for message in chat.messages)
        facts = {"epoch": epoch, "learnt": sum(rendered.mask)}
        return BatchRow(rendered.ids, (_whole(chat.id, number, text, len(rendered)),), facts)

    lengths, packed = [len(each) - 1 for each in fit.rows], bool(training_of(record).get("pack"))
    return _of_examples(record, step, steps, lengths, row, among=among(packed=packed))


def _of_examples(
    record: Record, step: int, steps: int, lengths: Sequence[int], row: Callable[[int, int], BatchRow], *, among: int = 1
) -> Batch:
    """A batch of whole examples, of `lengths` tokens; row: of an example by its number, in an epoch from 1."""
    from llm.data.examples import ExampleOrder  # torch, as above

    training = training_of(record)
    order = ExampleOrder(np.array(lengths, dtype=np.int64), training["batch_size"], training["seed"], among)
    order = left_of(order, record.result.get("rollbacks", ()))
    chosen, epochs = order.starts(step - 1), order.epochs(step - 1)
    rows = tuple(row(int(number), int(epoch) + 1) for number, epoch in zip(chosen, epochs, strict=True))
    return Batch(record.run, record.stage, step, steps, rows)


def _whole(example: str, number: int, text: str, tokens: int) -> Part:
    return Part(id=example, parent=None, source=None, number=number, first=0, last=tokens - 1, tokens=tokens, text=text)
