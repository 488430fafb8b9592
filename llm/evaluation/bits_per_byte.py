"""Bits per byte: how well a model predicts held-out text, comparable across tokenizers, n-gram models and compressors."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from infra.store.errors import InputError, SlipwayError
from llm.evaluation.intervals import Interval, ratio_interval
from llm.text.special import started

_IGNORED = -100  # a target that is padding, or that an earlier window has scored


class NotFiniteError(SlipwayError):
    """A score is not a number: a broken model, never a bad one."""

    code = "not-finite"


class Tokenizer(Protocol):
    """What scoring asks of a tokenizer."""

    @property
    def bos(self) -> int | None: ...
    @property
    def eos(self) -> int: ...
    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]: ...
    def decode(self, ids: Sequence[int]) -> str: ...


@dataclass(frozen=True, eq=False)
class Scores:
    """What each document with text cost, in the order given: `nats` (n,) and its UTF-8 `bytes` (n,); `empty` had none."""

    nats: NDArray[np.float64]
    bytes: NDArray[np.int64]
    empty: int = 0

    def __post_init__(self) -> None:
        if bad := np.flatnonzero(~np.isfinite(self.nats)).tolist():
            raise NotFiniteError(
                f"the score is {self.nats[bad[0]]} for {len(bad)} of {len(self.nats)} documents, first for number {bad[0] + 1}",
                where="evaluate",
                mend="The weights are damaged or the training diverged: go back to an earlier checkpoint.",
            )


def bits_per_byte(scores: Scores) -> Interval:
    """All bits over all bytes, with an interval over documents. Raises InputError where no document has text."""
    if not len(scores.nats):
        raise InputError(
            f"none of the {scores.empty} held-out documents has any text", where="evaluate", mend="Hold back documents with text."
        )
    return ratio_interval(scores.nats / math.log(2), scores.bytes)


def paired_difference(candidate: Scores, champion: Scores) -> Interval:
    """Candidate minus champion in bits per byte, on the same documents: below zero is better.

    Pairing takes out what makes documents hard for both, so the interval is far narrower than two apart.
    Raises InputError where the documents differ.
    """
    if not np.array_equal(candidate.bytes, champion.bytes):
        raise InputError(
            f"candidate and champion were scored on different documents ({len(candidate.bytes)} and {len(champion.bytes)})",
            where="evaluate",
            mend="Score both on the same documents.",
        )
    return bits_per_byte(replace(candidate, nats=candidate.nats - champion.nats))


def score_documents(
    model: nn.Module,
    tokenizer: Tokenizer,
    documents: Iterable[str],
    *,
    context_length: int,
    batch_size: int,
    device: torch.device | str | None = None,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Scores:
    """What each document costs a causal model (ids (B, T) -> logits (B, T, V)), every token scored exactly once.

    A document is predicted from its start, after the token that starts one in training. Longer ones are read in windows of
    `context_length` that overlap by half. A batch has at most batch_size · context_length tokens; `device` is the model's.
    `progress` hears how many windows are done. Raises InputError where the tokenizer does not keep a text,
    NotFiniteError where the model breaks.
    """
    given = list(documents)
    texts = [text for text in given if text]
    encoded = tokenizer.encode_batch(texts)
    _check_kept(tokenizer, texts, encoded)
    rows = [np.array(started(tokenizer, ids), dtype=np.int64) for ids in encoded]
    nats = _score_rows(model, rows, context_length, batch_size * context_length, device, autocast, progress)
    n_bytes = np.array([len(text.encode()) for text in texts], dtype=np.int64)
    return Scores(nats, n_bytes, len(given) - len(texts))


@dataclass(frozen=True)
class Window:
    """Targets `scored` to `end` of a row of tokens, predicted from the inputs `start` to `end`; target i follows input i."""

    start: int
    scored: int
    end: int


def windows(n_targets: int, context_length: int) -> Iterator[Window]:
    """Cuts a row so that every target is scored once, and after the first window sees at least half a context."""
    stride = max(1, context_length // 2)
    end = min(context_length, n_targets)
    yield Window(0, 0, end)
    while end < n_targets:
        scored, end = end, min(end + stride, n_targets)
        yield Window(end - context_length, scored, end)


def _score_rows(
    model: nn.Module,
    rows: Sequence[NDArray[np.int64]],
    context_length: int,
    batch_tokens: int,
    device: torch.device | str | None,
    autocast: Callable[[], AbstractContextManager[Any]],
    progress: Callable[[int, int], None],
) -> NDArray[np.float64]:
    """Nats of each row's targets: (len(rows),)."""
    device = device if device is not None else next(model.parameters()).device
    places = [(row, window) for row, ids in enumerate(rows) for window in windows(len(ids) - 1, context_length)]
    places.sort(key=lambda place: place[1].end - place[1].start, reverse=True)  # like lengths together: little padding
    nats = np.zeros(len(rows))
    was_training, done = model.training, 0
    model.eval()
    try:
        while done < len(places):
            longest = places[done][1].end - places[done][1].start
            batch = places[done : done + max(1, batch_tokens // longest)]
            inputs, targets = _batch(rows, batch, longest)
            with torch.no_grad(), autocast():
                logits = model(inputs.to(device))  # (B, T, V)
            flat = logits.flatten(0, 1).float()  # (B·T, V)
            losses = F.cross_entropy(flat, targets.to(device).flatten(), ignore_index=_IGNORED, reduction="none")
            sums = losses.view(targets.shape).sum(dim=1, dtype=torch.float64).cpu().numpy()  # (B,)
            np.add.at(nats, [row for row, _ in batch], sums)
            done += len(batch)
            progress(done, len(places))
    finally:
        model.train(was_training)
    return nats


def _batch(rows: Sequence[NDArray[np.int64]], batch: Sequence[tuple[int, Window]], length: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets, padded on the right, where a causal model does not look: (B, T) twice."""
    inputs = torch.zeros(len(batch), length, dtype=torch.int64)
    targets = torch.full((len(batch), length), _IGNORED)
    for place, (row, window) in enumerate(batch):
        ids, size = torch.from_numpy(rows[row][window.start : window.end + 1]), window.end - window.start
        inputs[place, :size] = ids[:-1]
        targets[place, window.scored - window.start : size] = ids[1 + window.scored - window.start :]
    return inputs, targets


def _check_kept(tokenizer: Tokenizer, texts: Sequence[str], encoded: Sequence[Sequence[int]]) -> None:
    """A tokenizer that drops or folds characters would be paid for bytes that nobody predicted."""
    for place, (text, ids) in enumerate(zip(texts, encoded, strict=True)):
        if tokenizer.decode(ids) != text:
            raise InputError(
                f"the tokenizer does not give document {place + 1} of {len(texts)} back as it was: its score would be wrong",
                where="tokenizer.json",
                mend="Use a tokenizer that keeps every byte, such as byte-level BPE without a normalizer.",
            )
