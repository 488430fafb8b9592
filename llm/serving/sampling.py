"""One sequence continued token by token: greedy or drawn, with a key-value cache."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypedDict, Unpack

import torch
from torch import Tensor

from infra.store.errors import InputError, SlipwayError
from llm.events import Noted, Observer, ignore
from llm.serving.text_stream import TextStream
from llm.text.special import started


class NotFiniteError(SlipwayError):
    """The model answers with something that is not a number."""

    code = "not-finite"


class Shape(Protocol):
    @property
    def context_length(self) -> int: ...


class Model(Protocol):
    """What generation asks of a model; `llm.models.causal.CausalModel` is one."""

    @property
    def config(self) -> Shape: ...
    def parameters(self) -> Iterator[Tensor]: ...
    def cache(self, batch: int, max_length: int, /) -> Any: ...
    def __call__(self, ids: Tensor, *, cache: Any) -> Tensor: ...


class Tokenizer(Protocol):
    """What generation asks of a tokenizer."""

    @property
    def size(self) -> int: ...
    @property
    def bos(self) -> int | None: ...
    @property
    def eos(self) -> int: ...
    def encode(self, text: str) -> list[int]: ...
    def decode(self, ids: Sequence[int]) -> str: ...


class Options(TypedDict, total=False):
    """How `generate` chooses; what each means stands there."""

    max_new_tokens: int
    temperature: float
    top_k: int | None
    top_p: float
    repetition_penalty: float
    seed: int
    stop: Collection[int]
    observe: Observer


def generate(
    model: Model,
    prompt_ids: Sequence[int],
    *,
    max_new_tokens: int = 128,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    repetition_penalty: float = 1.0,
    seed: int = 0,
    stop: Collection[int] = (),
    vocabulary: int | None = None,
    observe: Observer = ignore,
) -> Iterator[int]:
    """The ids that follow the prompt, one after another, until one of `stop`, which is left out, or the context is full.

    temperature: divides the logits; 0 takes the likeliest id each time. top_k: only the k likeliest. top_p: only the
    likeliest that together reach this probability (Holtzman et al., 2020), of those left by top_k. repetition_penalty:
    divides the positive logits of ids that occurred, multiplies the negative ones (Keskar et al., 2019). vocabulary: ids
    from here on are padding and never chosen. The same seed gives the same ids; no other generator is touched.

    A prompt that leaves no room in the context is cut from the left, and `observe` hears of it. Raises InputError naming
    all that is out of bounds, and NotFiniteError where the model breaks.
    """
    problems = [
        problem
        for wrong, problem in (
            (not prompt_ids, "the prompt has no tokens"),
            (max_new_tokens < 0, f"max_new_tokens is {max_new_tokens}, it must be at least 0"),
            (not temperature >= 0, f"temperature is {temperature}, it must be at least 0"),
            (top_k is not None and top_k < 1, f"top_k is {top_k}, it must be at least 1"),
            (not 0 < top_p <= 1, f"top_p is {top_p}, it must be above 0 and at most 1"),
            (not repetition_penalty > 0, f"repetition_penalty is {repetition_penalty}, it must be above 0"),
        )
        if wrong
    ]
    if problems:
        raise InputError("; ".join(problems), where="generation")
    prompt = _fit(prompt_ids, max_new_tokens, model.config.context_length, observe)
    count = min(max_new_tokens, model.config.context_length - len(prompt))
    choose = _Chooser(temperature, top_k, top_p, repetition_penalty, vocabulary, torch.Generator().manual_seed(seed))
    return _continue(model, prompt, count, choose, frozenset(stop))


def continue_text(model: Model, tokenizer: Tokenizer, prompt: str, **options: Unpack[Options]) -> str:
    """What the model says after the prompt, without the prompt; the options are those of `generate`.

    The prompt stands where a document starts. Stops at the end of text unless `stop` says otherwise. A character that the
    last token leaves unfinished is left out.
    """
    return "".join(stream_text(model, tokenizer, prompt, **options))


def stream_text(model: Model, tokenizer: Tokenizer, prompt: str, **options: Unpack[Options]) -> Iterator[str]:
    """The same, piece by piece as it comes: a piece never holds half a UTF-8 character."""
    ids = started(tokenizer, tokenizer.encode(prompt))
    settings: Options = {"stop": (tokenizer.eos,), **options}
    return _pieces(tokenizer, ids, generate(model, ids, vocabulary=tokenizer.size, **settings))


def _pieces(tokenizer: Tokenizer, prompt: Sequence[int], new: Iterator[int]) -> Iterator[str]:
    stream = TextStream(tokenizer, prompt)
    for index in new:
        if text := stream.push(index):
            yield text
    if rest := stream.rest():
        yield rest


def _fit(prompt: Sequence[int], max_new_tokens: int, context_length: int, observe: Observer) -> Sequence[int]:
    """The prompt, or its end where it fills the context: at most half of the context is then kept free."""
    if len(prompt) < context_length or not max_new_tokens:
        return prompt
    kept = max(1, context_length - min(max_new_tokens, context_length // 2))
    observe(Noted(f"the prompt has {len(prompt):,} tokens, the model reads {context_length:,}: only its last {kept:,} are used"))
    return prompt[-kept:]


def _continue(model: Model, prompt: Sequence[int], count: int, choose: "_Chooser", stop: frozenset[int]) -> Iterator[int]:
    if count <= 0:
        return
    device = next(model.parameters()).device
    cache = model.cache(1, len(prompt) + count)
    seen, ids = list(prompt), torch.tensor([prompt], device=device)  # (1, T)
    for _ in range(count):
        with torch.no_grad():  # never around a yield: the caller's gradients are its own
            logits = model(ids, cache=cache)[0, -1]  # (V)
        chosen = choose(logits.float().cpu(), seen)
        if chosen in stop:
            return
        yield chosen
        seen.append(chosen)
        ids = torch.tensor([[chosen]], device=device)  # (1, 1)


@dataclass(frozen=True)
class _Chooser:
    """Logits (V) on the CPU to an id: the draw is the same whatever device the model is on."""

    temperature: float
    top_k: int | None
    top_p: float
    penalty: float
    vocabulary: int | None
    generator: torch.Generator

    def __call__(self, logits: Tensor, seen: Sequence[int]) -> int:
        logits = logits[: self.vocabulary]
        if not torch.isfinite(logits).all():
            raise NotFiniteError("the model's output is not finite", where="generation", mend="Go back to an earlier version.")
        if self.penalty != 1:
            logits = self._penalised(logits, seen)
        if self.temperature == 0:
            return int(logits.argmax())
        ranked, ids = logits.double().topk(min(self.top_k or len(logits), len(logits)))  # likeliest first
        probabilities = torch.softmax((ranked - ranked[0]) / self.temperature, dim=0)
        before = probabilities.cumsum(0) - probabilities
        probabilities[before >= self.top_p] = 0  # the one that reaches top_p is kept
        return int(ids[torch.multinomial(probabilities, 1, generator=self.generator)])

    def _penalised(self, logits: Tensor, seen: Sequence[int]) -> Tensor:
        ids = torch.tensor(sorted(set(seen)))
        found = logits[ids]
        return logits.index_put((ids,), torch.where(found > 0, found / self.penalty, found * self.penalty))
