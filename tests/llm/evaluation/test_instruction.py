"""An assistant's scores are those of its answers alone, and it is asked what it says as a server would ask."""

import math

import pytest
import torch
from torch.nn import functional as F

from infra.store.errors import InputError
from llm.data.instructions import Instruction, ask, digest
from llm.evaluation.bits_per_byte import NotFiniteError, bits_per_byte
from llm.evaluation.golden import golden_chats
from llm.evaluation.instruction import Answer, answer, choose, ends_by_itself, evenly, score_answers
from llm.models.assistant import Assistant
from llm.models.build import new_model
from llm.models.presets import preset
from llm.text.chat import ChatFormat
from llm.text.tokenizer import Tokenizer

TEXTS = ["the ship is at sea", "a cold wind from the north", "no harbour is near"]
CHATS = [ask(str(i), f"What of {i}?", text) for i, text in enumerate([*TEXTS, "Käse 😀"])]


@pytest.fixture
def assistant() -> Assistant:
    tokenizer = Tokenizer.train(TEXTS * 9, 290)
    model = new_model(preset("llama-tiny", vocabulary=320, context_length=128))
    model.initialise(4)
    return Assistant(model.eval(), ChatFormat.of(tokenizer))


@torch.no_grad()
def by_hand(assistant: Assistant, chat: Instruction) -> float:
    ids = assistant.chats.prompt_ids(chat.prompt)
    said = assistant.chats.tokenizer.encode(chat.answer)
    costs = F.cross_entropy(
        assistant.model(torch.tensor([[*ids, *said]]))[0, :-1], torch.tensor([*ids, *said][1:]), reduction="none"
    )
    return float(costs[-len(said) :].sum())


def test_each_answer_costs_what_it_costs_alone_after_its_question(assistant: Assistant) -> None:
    more: Instruction = Instruction("5", (*CHATS[0].messages, {"role": "user", "content": "And?"}, CHATS[1].messages[-1]))
    chats = [*CHATS, more, ask("6", "a", " b\n")]
    scores = score_answers(assistant, chats)
    assert scores.nats == pytest.approx([by_hand(assistant, chat) for chat in chats], rel=1e-4)
    assert scores.bytes.tolist() == [18, 26, 18, 10, 26, 1]
    assert bits_per_byte(scores).value == pytest.approx(scores.nats.sum() / math.log(2) / 99)


def test_a_chat_that_does_not_fit_and_a_broken_model_are_errors(assistant: Assistant) -> None:
    with pytest.raises(InputError, match="1 chats are longer than the 128 tokens that the model reads at once, first long"):
        score_answers(assistant, [CHATS[0], ask("long", "a", "xyz" * 99)])
    torch.nn.init.constant_(assistant.model.norm.weight, torch.nan)
    with pytest.raises(NotFiniteError):
        score_answers(assistant, CHATS)


def test_questions_and_answers_that_belong_together_are_known_by_comparison(assistant: Assistant) -> None:
    own = score_answers(assistant, CHATS)
    found = choose(assistant, CHATS, own)
    assert (found.answer.n, found.unpaired) == (4, 0)
    assert choose(assistant, CHATS, own) == found
    order = sorted(range(4), key=lambda place: digest(CHATS[place].id, CHATS[place].question))
    known = likelier = 0
    for turn, asked in enumerate(order):
        offered = order[(turn + 1) % 4]
        swapped = Instruction("x", (*CHATS[asked].prompt, CHATS[offered].messages[-1]))
        cost = by_hand(assistant, swapped)
        known += by_hand(assistant, CHATS[offered]) < cost
        likelier += by_hand(assistant, CHATS[asked]) / own.bytes[asked] < cost / own.bytes[offered]
    assert (found.answer.value, found.question.value) == (known / 4, likelier / 4)


def test_equal_answers_are_not_compared_with_each_other(assistant: Assistant) -> None:
    same = [ask(str(i), f"What of {i}?", "Yes.") for i in range(3)]
    with pytest.raises(InputError, match="no two held-out questions have different answers"):
        choose(assistant, same, score_answers(assistant, same))
    chats = [*same, CHATS[0]]
    assert choose(assistant, chats, score_answers(assistant, chats)).answer.n == 4


def test_an_answer_is_greedy_and_known_to_have_ended_or_not(assistant: Assistant) -> None:
    says = assistant.chats.tokenizer.encode("x")
    hook = assistant.model.register_forward_hook(lambda module, given, logits: logits.index_fill(2, torch.tensor(says), 99.0))
    talks = answer(assistant, CHATS[:2], max_tokens=5)
    assert [each.stopped for each in talks] == [False, False]
    assert (talks[0].question, talks[0].text) == ("What of 0?", "xxxxx")
    (golden,) = golden_chats(assistant.model, assistant.chats.tokenizer, assistant.chats, ["a"], 4)
    assert golden == {"kind": "chat", "messages": [{"role": "user", "content": "a"}], "max_tokens": 4, "text": "xxxx"}
    hook.remove()
    stop = torch.tensor([assistant.chats.end])
    assistant.model.register_forward_hook(lambda module, given, logits: logits.index_fill(2, stop, 99.0))
    assert answer(assistant, CHATS[:1], max_tokens=5) == [Answer("What of 0?", "", True)]
    assert [each["text"] for each in golden_chats(assistant.model, assistant.chats.tokenizer, assistant.chats, ["a", "b"], 4)] == [
        "",
        "",
    ]


def test_only_answers_that_end_and_say_something_count() -> None:
    given = [Answer("a", "one two three", True), Answer("b", "one", True), Answer("c", "one two three", False)]
    share = ends_by_itself(given, min_words=3)
    assert (share.value, share.n) == (1 / 3, 3)
    assert 0 < share.low < 1 / 3 < share.high < 1


def test_few_are_taken_from_all_over() -> None:
    assert [chat.id for chat in evenly(CHATS, 2)] == ["0", "3"]
    assert evenly(CHATS, 99) == CHATS
