"""What a request asks of the model, as steps that can be taken in turn with others: one token, or one text to classify."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from llm.models.classifier import Classifier
from llm.serving.sampling import Model, NotFiniteError, Tokenizer, generate
from llm.serving.text_stream import StopStrings, TextStream

NOT_FINITE = "the model's output is not finite"


@dataclass(frozen=True)
class Text:
    """A further piece of the answer; empty where a token does not complete one."""

    text: str


@dataclass(frozen=True)
class Finished:
    """The answer is complete. reason: `stop` at a stop token or string, `length` at the limit or the context's end."""

    reason: Literal["stop", "length"]
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Classified:
    """The likeliest label of a text, and each label's probability."""

    index: int
    label: str
    probabilities: Mapping[str, float]
    tokens: int


Event = Text | Finished | Classified


@dataclass(frozen=True, kw_only=True)
class Question:
    """A text to continue: the ids of the prompt, how to choose, where to end. The options are those of `generate`."""

    prompt: Sequence[int]
    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int | None = None
    repetition_penalty: float = 1.0
    seed: int = 0
    stop_ids: frozenset[int] = frozenset()
    stop: Sequence[str] = field(default=())


def continuation(model: Model, tokenizer: Tokenizer, question: Question) -> Iterator[Event]:
    """Exactly the tokens of `generate`, as text; the last event is `Finished`. Raises NotFiniteError where the model breaks."""
    stream, stops = TextStream(tokenizer, question.prompt), StopStrings(question.stop)
    room = min(question.max_tokens, model.config.context_length - len(question.prompt))
    count = 0
    ids = generate(
        model,
        question.prompt,
        max_new_tokens=room,
        temperature=question.temperature,
        top_p=question.top_p,
        top_k=question.top_k,
        repetition_penalty=question.repetition_penalty,
        seed=question.seed,
        stop=question.stop_ids,
        vocabulary=tokenizer.size,
    )
    for index in ids:
        count += 1
        yield Text(stops.push(stream.push(index)))
        if stops.found:
            break
    else:
        rest = stops.push(stream.rest())
        yield Text(rest + stops.rest())
    reason: Literal["stop", "length"] = "stop" if stops.found or count < room else "length"
    yield Finished(reason, len(question.prompt), count)


def classification(classifier: Classifier, texts: Sequence[Sequence[int]]) -> Iterator[Event]:
    """One text after another, each alone, so that its answer does not depend on its neighbours. Raises NotFiniteError."""
    device = next(classifier.parameters()).device
    for index, ids in enumerate(texts):
        with torch.no_grad():  # never around a yield: the caller's gradients are its own
            logits = classifier(torch.tensor([list(ids)], device=device), torch.tensor([len(ids)], device=device))[0]  # (n_labels)
        logits = logits.double().cpu()
        if not torch.isfinite(logits).all():
            raise NotFiniteError(NOT_FINITE, where="classification", mend="Go back to an earlier version.")
        probabilities = dict(zip(classifier.labels, torch.softmax(logits, dim=0).tolist(), strict=True))
        yield Classified(index, classifier.labels[int(logits.argmax())], probabilities, len(ids))
