"""Finetuning to answer: cross-entropy of the answers alone, their stop token included; a chat is read whole, or left out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from infra.store.errors import InputError
from infra.store.manifest import Thing
from llm.data.examples import ExampleOrder
from llm.data.instructions import Instruction, read_instructions
from llm.data.packing import pack
from llm.data.splitting import Split
from llm.events import Sampled
from llm.models.assistant import Assistant, from_base
from llm.models.causal import CausalModel
from llm.models.lora import add_adapters
from llm.serving.sampling import generate
from llm.text.chat import ChatFormat, Rendered
from llm.training.config import FinetuneConfig
from llm.training.loss import cross_entropy, nats
from llm.training.numerics import Numerics
from llm.training.task import Task

_IGNORED: Final = -100  # a target that nothing is learnt from: the question, and padding
_LOOKED_AT = 128  # validation chats a look at most, evenly chosen: enough to see the curve, little enough not to slow it
_MOST_LEFT_OUT = 0.5
AMONG: Final = 8  # steps whose chats are dealt out among them by length


class AnswerTokens:
    """A batch holds for each row its ids and, one place on, what is to be learnt there: int64 (B, 2, T).

    Where a row holds several chats, a third plane says which one each place belongs to: int64 (B, 3, T).
    """

    def count(self, batch: Tensor) -> Tensor:
        return (batch[:, 1] != _IGNORED).sum()

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        return cross_entropy(model.head, *_learnt(model, batch))  # type: ignore[arg-type]


def losses(model: nn.Module, batch: Tensor) -> Tensor:
    """Nats of each target, chat after chat, for a look: (count,)."""
    return nats(model.head, *_learnt(model, batch))  # type: ignore[arg-type]


def _learnt(model: nn.Module, batch: Tensor) -> tuple[Tensor, Tensor]:
    """Hidden states (count, C) and targets (count,): the output layer, a fifth of a small model, reads these places alone."""
    inputs, targets, *packed = batch.unbind(dim=1)  # (B, T) each
    learnt = targets != _IGNORED
    hidden = model.hidden(inputs, documents=packed[0] if packed else None)  # type: ignore[operator] # (B, T, C)
    return hidden[learnt], targets[learnt]


def as_batch(rows: Sequence[Rendered]) -> Tensor:
    """Chats of unequal length, filled up on the right, where a causal model does not look: int64 (B, 2, T)."""
    batch = torch.zeros(len(rows), 2, max(map(len, rows)) - 1, dtype=torch.int64)
    batch[:, 1] = _IGNORED
    for place, row in enumerate(rows):
        ids, mask = torch.tensor(row.ids), torch.tensor(row.mask, dtype=torch.bool)
        batch[place, 0, : len(ids) - 1] = ids[:-1]
        batch[place, 1, : len(ids) - 1] = torch.where(mask[1:], ids[1:], _IGNORED)
    return batch


def as_packed_batch(rows: Sequence[Rendered], length: int) -> Tensor:
    """The same chats, several in a row of at most `length` places, in as few rows as best-fit packing finds: int64 (B, 3, T).

    No chat sees another, and none is cut: the loss and its gradient are those of `as_batch`. What fills a row up is of no chat.
    """
    lengths = [len(row) - 1 for row in rows]
    packed = pack(lengths, length)
    batch = torch.zeros(len(packed), 3, max(sum(lengths[number] for number in row) for row in packed), dtype=torch.int64)
    batch[:, 1] = _IGNORED
    for place, row in enumerate(packed):
        start = 0
        for chat, number in enumerate(row, start=1):
            ids, mask = torch.tensor(rows[number].ids), torch.tensor(rows[number].mask, dtype=torch.bool)
            within = slice(start, start := start + lengths[number])
            batch[place, 0, within] = ids[:-1]
            batch[place, 1, within] = torch.where(mask[1:], ids[1:], _IGNORED)
            batch[place, 2, within] = chat
    return batch


@dataclass(frozen=True)
class Padding:
    """Share of the places of an epoch's batches that hold no chat: with a chat a row, like lengths together; and with several."""

    alone: float
    packed: float


def padding(lengths: Sequence[int], config: FinetuneConfig, length: int) -> Padding:
    """Of training chats of so many ids each. length: of a row at most."""
    places = np.array([each - 1 for each in lengths], dtype=np.int64)
    used, wide = dict.fromkeys((False, True), 0), dict.fromkeys((False, True), 0)
    for packed in (False, True):
        order = ExampleOrder(places, config.batch_size, config.seed, among(packed=packed))
        for step in range(max(1, len(places) // config.batch_size)):
            chosen = places[order.starts(step)].tolist()
            rows = pack(chosen, length) if packed else [[number] for number in range(len(chosen))]
            used[packed] += sum(chosen)
            wide[packed] += len(rows) * max(sum(chosen[number] for number in row) for row in rows)
    return Padding(*(1 - used[packed] / wide[packed] for packed in (False, True)))


def among(*, packed: bool) -> int:
    """Steps whose chats are dealt out among them by length: not where chats share rows, which long and short ones fill."""
    return 1 if packed else AMONG


@dataclass(frozen=True, eq=False)
class Fitting:
    """The chats of a split that a model can read whole, rendered, and how many it cannot: half an answer teaches a wrong end."""

    chats: list[Instruction]
    rows: list[Rendered]
    left_out: int

    @property
    def answer_bytes(self) -> int:
        """UTF-8 bytes of all answers."""
        said = (message["content"].strip() for chat in self.chats for message in chat.messages if message["role"] == "assistant")
        return sum(len(text.encode()) for text in said)


def fitting(examples: Thing, split: Split, chats: ChatFormat, length: int) -> Fitting:
    """Raises InputError where more than half are too long, and where a stop token is not in the loss."""
    given = read_instructions(examples, split)
    rendered = [chats.render(chat.messages) for chat in given]
    kept = [(chat, row) for chat, row in zip(given, rendered, strict=True) if len(row) <= length]
    if len(kept) < (1 - _MOST_LEFT_OUT) * len(given) or not kept:
        longest = sorted(len(row) for row in rendered)[int(0.95 * len(rendered))] if rendered else 0
        raise InputError(
            f"{len(given) - len(kept):,} of {len(given):,} rows ({split}) are longer than {length} tokens, which are read at once",
            where="instruct.data",
            mend=f"Shorten them, or take a base model that reads more: 19 of 20 rows have {longest:,} tokens or fewer.",
        )
    chats.check_learns_to_stop(row for _, row in kept)
    return Fitting([chat for chat, _ in kept], [row for _, row in kept], len(given) - len(kept))


def longest(config: FinetuneConfig, context_length: int) -> int:
    """Tokens of a chat at most."""
    return min(config.max_length or context_length, context_length)


def learner(base: Path, config: FinetuneConfig) -> Assistant:
    """What learns: the base with the markers of a chat, and with adapters if the configuration has them.

    Beside adapters the embedding and the output layer stand still, unless the model never read the markers: then both learn, for
    the markers' rows are all alike, and no adapter of a block could tell the end of an answer from the beginning of one.
    """
    assistant = from_base(base)
    if config.lora.rank:
        add_adapters(assistant.model, config.lora, seed=config.seed)
        for layer in (assistant.model.embedding, assistant.model.head):
            layer.requires_grad_(assistant.new_markers)
    return assistant


def prepare(base: Thing, examples: Thing, config: FinetuneConfig) -> Task:
    """The base model as it learns, and the chats that it can read whole."""
    assistant = learner(base.folder(), config)
    model, chats = assistant.model, assistant.chats
    length = longest(config, model.config.context_length)
    training, held_out = (fitting(examples, split, chats, length) for split in ("train", "validation"))
    chosen = np.unique(np.linspace(0, len(held_out.rows) - 1, min(_LOOKED_AT, len(held_out.rows))).round().astype(np.int64))
    looked_at = Fitting([held_out.chats[place] for place in chosen], [held_out.rows[place] for place in chosen], 0)
    rows = sorted(looked_at.rows, key=len)  # like lengths together: little padding
    shown, size = looked_at.chats[0], chats.tokenizer.size

    def read(numbers: NDArray[np.int64]) -> Tensor:
        chosen = [training.rows[number] for number in numbers]
        return as_packed_batch(chosen, length) if config.pack else as_batch(chosen)

    def validate(batches: Sequence[Tensor], numerics: Numerics) -> tuple[float, float]:
        return look(model, batches, numerics, stop=chats.end, answer_bytes=looked_at.answer_bytes)

    def sample(step: int, model: CausalModel) -> Sampled:
        model.eval()
        ids = generate(model, chats.prompt_ids(shown.prompt), max_new_tokens=40, temperature=0, stop=chats.stop, vocabulary=size)
        text = chats.tokenizer.decode(list(ids))
        model.train()
        return Sampled(step, f"{shown.question} ", text)

    return Task(
        model=model,
        objective=AnswerTokens(),
        lengths=np.array([len(row) - 1 for row in training.rows], dtype=np.int64),
        read=read,
        looks=[as_batch(rows[start : start + 16]) for start in range(0, len(rows), 16)],
        measure="bits_per_byte",
        validate=validate,
        among=among(packed=config.pack),
        sample=sample,
    )


@torch.no_grad()
def look(model: nn.Module, batches: Sequence[Tensor], numerics: Numerics, *, stop: int, answer_bytes: int) -> tuple[float, float]:
    """Nats per target, and bits per byte of the answers: their text alone, without the stop token."""
    model.eval()
    nats = of_text = count = 0.0
    for batch in batches:
        with numerics.autocast():
            found = losses(model, batch)
        targets = batch[:, 1][batch[:, 1] != _IGNORED]
        nats, count = nats + float(found.sum()), count + len(found)
        of_text += float(found[targets != stop].sum())
    model.train()
    return nats / count, of_text / float(np.log(2)) / answer_bytes
