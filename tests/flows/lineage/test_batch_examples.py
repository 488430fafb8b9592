"""`--step` of a finetuning: the examples of a step as training read them, also across a resume and an epoch's end."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest
from torch import Tensor

from flows.lineage.decode import decode_step
from flows.lineage.shelf import Shelf
from flows.pipeline import records
from flows.pipeline.records import Record
from flows.pipeline.stage import Reference, Stage, run_id
from infra.store.folder import FolderStore
from infra.store.manifest import Thing, load, publish
from infra.store.protocol import Store
from llm.data.classification import read_examples
from llm.data.examples import padded
from llm.data.instructions import ask, write_instructions
from llm.data.splitting import Split
from llm.events import Event, StepDone, ignore
from llm.models.classifier import encode_all
from llm.text.chat import Rendered
from llm.text.tokenizer import Tokenizer
from llm.training.config import FinetuneConfig
from llm.training.finetune import FinetuneJob, TaskName, finetune
from llm.training.instruct import as_batch
from llm.training.numerics import Numerics
from tests.llm.training.conftest import write_base, write_labelled

BATCH, STEPS, CUT_OFF, RESUMED = 10, 12, 7, 4


class CutOffError(Exception):
    """The first attempt's end."""


def cut_off(event: Event) -> None:
    if isinstance(event, StepDone) and event.step == CUT_OFF:
        raise CutOffError


@dataclass
class Finetuned:
    """A finetuning in two attempts, the first cut off: its record, and what of it was heard."""

    store: Store
    base: Thing
    examples: Thing
    record: Record


def finetuned(task: TaskName, base: str, examples: str, store: Store, folder: Path) -> Finetuned:
    given = load(store, base), load(store, examples)
    config = FinetuneConfig(steps=STEPS, batch_size=BATCH, checkpoint_every=4, validate_every=STEPS)
    inputs = {name: Reference(thing.prefix, thing.version) for name, thing in zip(("base", "examples"), given, strict=True)}
    stage = Stage(f"finetune-{task}", "", config, inputs)
    runs = [run_id(stage.name, stage.key(), attempt) for attempt in (1, 2)]
    for attempt, observe in ((1, cut_off), (2, ignore)):
        scratch = folder / "scratch" / str(attempt)
        scratch.mkdir(parents=True)
        job = FinetuneJob(
            store_url=store.url,
            base=base,
            examples=examples,
            run=runs[attempt - 1],
            earlier_runs=tuple(runs[: attempt - 1]),
            scratch=scratch,
            task=task,
            training=config,
            steps=STEPS,
            numerics=Numerics.decide("fp32"),
        )
        with pytest.raises(CutOffError) if attempt == 1 else nullcontext():
            finetune(job, observe)
    record = Record(stage.name, stage.key(), runs[1], 2, stage.identity(), {}, {"steps": STEPS}, {}, {}, "here", "", 0.0, 0.0)
    records.write(store, record)
    return Finetuned(store, *given, record)


def test_every_decoded_batch_of_texts_is_the_one_that_finetuning_read(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Sequence[Sequence[int]]] = []

    def listening(rows: Sequence[Sequence[int]], fill: int = 0) -> Tensor:
        if len(rows) == BATCH:  # the look at the validation examples takes another number of rows
            read.append(rows)
        return padded(rows, fill)

    monkeypatch.setattr("llm.training.classify.padded", listening)
    base, labelled = write_base(store, tmp_path / "base"), write_labelled(store, tmp_path / "labelled")
    done = finetuned("classify", base, labelled, store, tmp_path)
    tokenizer = Tokenizer.load(done.base.folder())
    known = {example.id: example for example in read_examples(done.examples, "train")}
    epochs = set()
    for step, rows in zip(_read_at(len(read)), read, strict=True):
        decoded = decode_step(Shelf(store), done.record, step)
        epochs |= {row.facts["epoch"] for row in decoded.rows}
        for row, (label, length, *ids) in zip(decoded.rows, rows, strict=True):
            (part,) = row.parts
            assert part.text == known[str(part.id)].text
            assert row.facts["label"] == done.examples.facts["labels"][label]
            assert encode_all(tokenizer, [part.text], 32) == [ids[:length]]
    assert epochs == {1, 2, 3}


def test_every_decoded_batch_of_chats_is_the_one_that_finetuning_read(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Sequence[Rendered]] = []

    def listening(rows: Sequence[Rendered]) -> Tensor:
        if len(rows) == BATCH:  # the look at the validation chats takes another number of rows
            read.append(rows)
        return as_batch(rows)

    monkeypatch.setattr("llm.training.instruct.as_batch", listening)
    words = ["cat", "dog", "house", "mat"]
    chats = [ask(f"q:{i}", f"{words[i % 4]} {i}", "sat " * (30 if i % 9 == 0 else 1 + i % 3)) for i in range(60)]
    splits: list[Split] = ["train" if i % 6 else "validation" for i in range(60)]
    write_instructions(chats, splits, tmp_path / "chats")
    questions = publish(store, "datasets/questions/1", tmp_path / "chats", {"kind": "instruction"}).prefix
    done = finetuned("instruct", write_base(store, tmp_path / "base"), questions, store, tmp_path)
    epochs, seen = set(), set()
    for step, rows in zip(_read_at(len(read)), read, strict=True):
        decoded = decode_step(Shelf(store), done.record, step)
        epochs |= {row.facts["epoch"] for row in decoded.rows}
        assert [(row.ids, row.facts["learnt"]) for row in decoded.rows] == [(chat.ids, sum(chat.mask)) for chat in rows]
        seen |= {(part.id, part.text) for row in decoded.rows for part in row.parts}
    assert epochs >= {1, 2, 3}, "and the next one's, where chats are dealt out among the steps around its start"
    assert seen <= {(chat.id, f"user: {chat.question}\nassistant: {chat.messages[-1]['content']}") for chat in chats}
    assert {f"q:{i}" for i in range(60) if i % 9 == 0}.isdisjoint({example for example, _ in seen}), "too long: never read"


def _read_at(batches: int) -> list[int]:
    """Their steps: those of the first attempt, with what it had read ahead when it was cut off, then those of the second."""
    ahead = batches - CUT_OFF - (STEPS - RESUMED)
    assert 0 <= ahead <= 2
    return [*range(1, CUT_OFF + ahead + 1), *range(RESUMED + 1, STEPS + 1)]
