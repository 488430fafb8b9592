"""Golden answers: what a model said when it was evaluated, to be asked again of whoever serves it before it may serve.

Greedy, in fp32, one at a time: as the server of `llm.serving` answers at temperature 0. The texts are compared letter by letter.
"""

import copy
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import nn

from llm.models.causal import CausalModel
from llm.models.classifier import Classifier, encode
from llm.serving.work import Classified, Event, Question, Text, classification, continuation
from llm.text.chat import ChatFormat, Message
from llm.text.special import started
from llm.text.tokenizer import Tokenizer

M = TypeVar("M", bound=nn.Module)


def golden_completions(
    model: CausalModel, tokenizer: Tokenizer, prompts: Sequence[str], max_tokens: int = 16
) -> list[dict[str, Any]]:
    """One `{"kind": "completion", "prompt", "max_tokens", "text"}` a prompt; a prompt that fills the context is left out."""
    model = _exact(model)
    found = []
    for prompt in prompts:
        ids = started(tokenizer, tokenizer.encode(prompt))
        if (room := min(max_tokens, model.config.context_length - len(ids))) > 0:
            text = _answer(model, tokenizer, ids, room, (tokenizer.eos,))
            found.append({"kind": "completion", "prompt": prompt, "max_tokens": room, "text": text})
    return found


def golden_chats(
    model: CausalModel, tokenizer: Tokenizer, chat_format: ChatFormat, prompts: Sequence[str], max_tokens: int = 16
) -> list[dict[str, Any]]:
    """One `{"kind": "chat", "messages", "max_tokens", "text"}` a user's question; one that fills the context is left out."""
    model = _exact(model)
    found = []
    for prompt in prompts:
        messages: list[Message] = [{"role": "user", "content": prompt}]
        ids = chat_format.prompt_ids(messages)
        if (room := min(max_tokens, model.config.context_length - len(ids))) > 0:
            text = _answer(model, tokenizer, ids, room, chat_format.stop)
            found.append({"kind": "chat", "messages": messages, "max_tokens": room, "text": text})
    return found


def golden_classifications(classifier: Classifier, tokenizer: Tokenizer, texts: Sequence[str]) -> list[dict[str, Any]]:
    """One `{"kind": "classification", "input", "label", "probability"}` a text; probability is that of the label."""
    classifier = _exact(classifier)
    rows = [encode(tokenizer, text, classifier.body.config.context_length) for text in texts]
    events: list[Event] = list(classification(classifier, rows))
    answers = [event for event in events if isinstance(event, Classified)]
    return [
        {"kind": "classification", "input": text, "label": answer.label, "probability": answer.probabilities[answer.label]}
        for text, answer in zip(texts, answers, strict=True)
    ]


def _answer(model: CausalModel, tokenizer: Tokenizer, ids: Sequence[int], max_tokens: int, stop: Sequence[int]) -> str:
    question = Question(prompt=ids, max_tokens=max_tokens, temperature=0, stop_ids=frozenset(stop))
    return "".join(event.text for event in continuation(model, tokenizer, question) if isinstance(event, Text))


def _exact(model: M) -> M:
    """The model in fp32, in evaluation; the caller's stays as it is."""
    if model.training or any(parameter.dtype != torch.float32 for parameter in model.parameters()):
        return copy.deepcopy(model).float().eval()
    return model
