"""What a served request gets is what the model says alone: to the token, to the probability."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from llm.models.classifier import encode
from llm.models.hub import load_classifier
from llm.serving.sampling import continue_text, generate
from llm.serving.work import Classified, Event, Finished, Question, Text, classification, continuation
from llm.text.tokenizer import Tokenizer
from tests.llm.serving.conftest import CONTEXT, LABELS, Scripted, random_model


def _text(events: Iterator[Event]) -> tuple[str, Finished]:
    *texts, finished = events
    assert isinstance(finished, Finished)
    return "".join(event.text for event in texts if isinstance(event, Text)), finished


def _says(tokenizer: Tokenizer, said: str, **options: object) -> tuple[str, Finished]:
    """What comes of a model that spells `said` letter by letter."""
    script = [index for letter in said for index in tokenizer.encode(letter)]
    question = Question(prompt=[tokenizer.eos], max_tokens=100, stop_ids=frozenset({tokenizer.eos}), temperature=0, **options)  # type: ignore[arg-type]
    return _text(continuation(Scripted(tokenizer, script), tokenizer, question))


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_a_served_text_is_the_one_that_generate_gives(tokenizer: Tokenizer, temperature: float) -> None:
    model = random_model(tokenizer.size)
    prompt = [tokenizer.eos, *tokenizer.encode("the ship")]
    ids = list(generate(model, prompt, max_new_tokens=40, temperature=temperature, seed=3, vocabulary=tokenizer.size))
    question = Question(prompt=prompt, max_tokens=40, temperature=temperature, seed=3)
    text, finished = _text(continuation(model, tokenizer, question))
    whole = continue_text(model, tokenizer, "the ship", max_new_tokens=40, temperature=temperature, seed=3, stop=())
    assert text == whole == tokenizer.decode(ids).rstrip("\ufffd")
    assert finished == Finished("length", len(prompt), 40)
    assert len(set(ids)) > 5  # a loop of one token would prove little


def test_texts_that_advance_in_turn_do_not_touch_each_other(tokenizer: Tokenizer) -> None:
    model = random_model(tokenizer.size)
    questions = [
        Question(prompt=[tokenizer.eos, *tokenizer.encode(text)], max_tokens=20, temperature=0) for text in ("a", "the tide")
    ]
    alone = [list(continuation(model, tokenizer, question)) for question in questions]
    together = list(zip(*(continuation(model, tokenizer, question) for question in questions), strict=True))
    assert [list(events) for events in zip(*together, strict=True)] == alone


def test_the_end_of_text_ends_an_answer_and_is_not_counted(tokenizer: Tokenizer) -> None:
    text, finished = _says(tokenizer, "aye größer")
    assert (text, finished.reason) == ("aye größer", "stop")
    assert finished.completion_tokens == len([index for letter in "aye größer" for index in tokenizer.encode(letter)])


def test_a_stop_string_ends_an_answer_across_tokens_and_inside_one(tokenizer: Tokenizer) -> None:
    assert _says(tokenizer, "one. two. three", stop=[". t"])[0] == "one"
    text, finished = _says(tokenizer, "one STOP two", stop=["nothing", "STOP"])
    assert (text, finished.reason, finished.completion_tokens) == ("one ", "stop", len("one STOP"))
    assert _says(tokenizer, "one STO", stop=["STOP"])[0] == "one STO"


def test_an_answer_ends_at_its_limit_and_at_the_end_of_the_context(tokenizer: Tokenizer) -> None:
    model = random_model(tokenizer.size)
    question = Question(prompt=[5] * (CONTEXT - 3), max_tokens=100, temperature=0)
    assert _text(continuation(model, tokenizer, question))[1] == Finished("length", CONTEXT - 3, 3)


def test_a_classification_gives_the_probabilities_of_the_models_logits(classifier_folder: Path, tokenizer: Tokenizer) -> None:
    classifier = load_classifier(classifier_folder)
    texts = ["a storm", "the tide and " * 100]
    ids = [encode(tokenizer, text, CONTEXT) for text in texts]
    found = list(classification(classifier, ids))
    for index, (each, tokens) in enumerate(zip(found, ids, strict=True)):
        with torch.no_grad():
            logits = classifier(torch.tensor([tokens]), torch.tensor([len(tokens)]))[0]
        expected = torch.softmax(logits, dim=0)
        assert isinstance(each, Classified)
        assert list(each.probabilities) == list(LABELS)
        assert list(each.probabilities.values()) == pytest.approx(expected.tolist(), abs=1e-6)
        assert (each.index, each.label, each.tokens) == (index, LABELS[int(expected.argmax())], len(tokens))
    assert len(ids[1]) == CONTEXT
