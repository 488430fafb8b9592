"""What an assistant is worth: how likely it finds right answers, whether it knows them from others, whether it comes to an end."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from infra.store.errors import InputError
from llm.data.instructions import Instruction, digest
from llm.evaluation.bits_per_byte import Scores
from llm.evaluation.intervals import Interval, wilson
from llm.models.assistant import Assistant
from llm.serving.sampling import generate
from llm.text.chat import Rendered

_BATCH_TOKENS = 4096


@dataclass(frozen=True)
class Choice:
    """How often question and answer are known to belong together; chance is 0.5.

    answer: the share of answers that are likelier after their own question than after another one: the same bytes, so nothing but
    the question makes the difference. question: the share of questions after which their own answer is likelier, byte for byte,
    than another one: harder, since some answers are likelier than others whatever was asked. `unpaired`: had no other one.
    """

    answer: Interval
    question: Interval
    unpaired: int


@dataclass(frozen=True)
class Answer:
    """What an assistant says to a question. `stopped`: it ended by itself, before the limit."""

    question: str
    text: str
    stopped: bool

    @property
    def words(self) -> int:
        return len(self.text.split())


def score_answers(
    assistant: Assistant, chats: Sequence[Instruction], progress: Callable[[int, int], None] = lambda done, total: None
) -> Scores:
    """What the last answer of each chat costs, given all that stands before it: the answer's text, without the stop token.

    Without, because a base model has never seen it: what it pays for that says nothing about what it knows.
    Raises InputError for a chat longer than the model reads, NotFiniteError where the model breaks.
    """
    rows = [_text_alone(assistant.chats.render(chat.messages), assistant.chats.end) for chat in chats]
    limit = assistant.model.config.context_length
    if too_long := [chat.id for chat, row in zip(chats, rows, strict=True) if len(row) > limit + 1]:
        raise InputError(
            f"{len(too_long):,} chats are longer than the {limit} tokens that the model reads at once, first {too_long[0]}",
            where="evaluate",
            mend="Leave them out for every model that is compared.",
        )
    n_bytes = np.array([len(chat.answer.encode()) for chat in chats], dtype=np.int64)
    return Scores(_nats(assistant, rows, progress), n_bytes)


def choose(assistant: Assistant, chats: Sequence[Instruction], own: Scores) -> Choice:
    """Each question with another one's answer, beside `own`, the scores of the answers where they belong.

    Which answer is offered to which question depends on the chats alone: in the order of a hash of the questions, each gets that of
    the next one that is another. Raises InputError where no two answers differ, or none fits what the model reads at once.
    """
    pairs = []
    for asked, answered in _pairs(chats):
        swapped = Instruction(chats[asked].id, (*chats[asked].prompt, chats[answered].messages[-1]))
        if len(assistant.chats.render(swapped.messages)) <= assistant.model.config.context_length:
            pairs.append((asked, answered, swapped))
    if not pairs:
        raise InputError("no two held-out questions have different answers", where="evaluate", mend="Hold back more questions.")
    asked_, answered_ = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    wrong = score_answers(assistant, [pair[2] for pair in pairs])
    by_answer = own.nats[answered_] < wrong.nats
    by_question = own.nats[asked_] / own.bytes[asked_] < wrong.nats / wrong.bytes
    return Choice(wilson(int(by_answer.sum()), len(pairs)), wilson(int(by_question.sum()), len(pairs)), len(chats) - len(pairs))


def _pairs(chats: Sequence[Instruction]) -> Iterator[tuple[int, int]]:
    """(question, another one's answer) by place, each question once; each answer about as often."""
    order = sorted(range(len(chats)), key=lambda place: digest(chats[place].id, chats[place].question))
    answers = [digest(chat.answer) for chat in chats]
    for turn, place in enumerate(order):
        others = (order[(turn + step) % len(order)] for step in range(1, len(order)))
        other = next((each for each in others if answers[each] != answers[place]), None)
        if other is not None:
            yield place, other


def answer(
    assistant: Assistant,
    chats: Sequence[Instruction],
    *,
    max_tokens: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Answer]:
    """The likeliest answer, token by token, to what each chat asks last."""
    given = []
    format_, model = assistant.chats, assistant.model
    for chat in chats:
        prompt = format_.prompt_ids(chat.prompt)
        limit = min(max_tokens, model.config.context_length - len(prompt))
        ids = list(
            generate(model, prompt, max_new_tokens=limit, temperature=0, stop=format_.stop, vocabulary=format_.tokenizer.size)
        )
        given.append(Answer(chat.question, format_.tokenizer.decode(ids), len(ids) < limit))
        progress(len(given), len(chats))
    return given


def ends_by_itself(answers: Sequence[Answer], *, min_words: int) -> Interval:
    """The share of answers that come to an end before the limit, and not before they have said something."""
    return wilson(sum(each.stopped and each.words >= min_words for each in answers), len(answers))


def evenly(chats: Sequence[Instruction], most: int) -> list[Instruction]:
    """At most so many, from all over."""
    places = np.unique(np.linspace(0, len(chats) - 1, min(most, len(chats))).round().astype(np.int64))
    return [chats[place] for place in places]


def _text_alone(row: Rendered, stop: int) -> Rendered:
    """Masked 1 where the text of the last answer stands."""
    last = len(row.ids) - 1 - row.ids[::-1].index(stop)
    first = last
    while row.mask[first - 1]:
        first -= 1
    return Rendered(row.ids[: last + 1], tuple(int(first <= place < last) for place in range(last + 1)))


@torch.no_grad()
def _nats(assistant: Assistant, rows: Sequence[Rendered], progress: Callable[[int, int], None]) -> NDArray[np.float64]:
    model = assistant.model
    device = next(model.parameters()).device
    nats = np.zeros(len(rows))
    places, done = sorted(range(len(rows)), key=lambda place: len(rows[place]), reverse=True), 0
    was_training = model.training
    model.eval()
    while done < len(places):
        batch = places[done : done + max(1, _BATCH_TOKENS // len(rows[places[done]]))]
        ids, mask = (_padded([getattr(rows[place], name) for place in batch]).to(device) for name in ("ids", "mask"))  # (B, T)
        logits = model(ids[:, :-1])  # (B, T - 1, V)
        costs = F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none").view(len(batch), -1)
        nats[batch] = (costs * mask[:, 1:]).sum(dim=1, dtype=torch.float64).cpu().numpy()
        done += len(batch)
        progress(done, len(places))
    model.train(was_training)
    return nats


def _padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """Filled up on the right, where a causal model does not look: int64 (B, T)."""
    length = max(map(len, rows))
    return torch.tensor([[*row, *[0] * (length - len(row))] for row in rows])
