"""A classifier: a causal model that reads a text, and one linear layer on what it knows after the last token."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from llm.models.causal import CausalModel
from llm.text.special import started


class Tokenizer(Protocol):
    """What reading a text asks of a tokenizer."""

    @property
    def bos(self) -> int | None: ...
    @property
    def eos(self) -> int: ...
    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]: ...


class Classifier(nn.Module):
    """Token ids (B, T), filled up on the right, and how many of each row are real (B): logits (B, n_labels).

    Takes the body over: its output layer, which a classifier has no use for, is taken off. `llm.models.hub` loads weights.
    max_length: tokens that it learns to read at most, which become its context: longer texts are cut then as they are in training.
    0 keeps the body's own context.
    """

    def __init__(self, body: CausalModel, labels: Sequence[str], max_length: int = 0) -> None:
        super().__init__()
        self.labels = tuple(labels)
        self.body = body
        if 0 < max_length < body.config.context_length:
            body.shorten(max_length)
        if hasattr(body, "head"):
            del body.head
        self.score = nn.Linear(body.config.width, len(self.labels), bias=False)
        self.initialise()

    @torch.no_grad()
    def initialise(self, seed: int = 0) -> None:
        """The new layer's weights: normal with deviation 0.02. Those of the body stay."""
        self.score.weight.normal_(std=0.02, generator=torch.Generator().manual_seed(seed))

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        x = self.body.hidden(ids)  # (B, T, C)
        last = x[torch.arange(len(x), device=x.device), lengths - 1]  # (B, C)
        return self.score(last)  # (B, n_labels)


def encode(tokenizer: Tokenizer, text: str, context_length: int) -> list[int]:
    """The ids a classifier reads: the token that starts a document, then the text, cut to the context."""
    return encode_all(tokenizer, [text], context_length)[0]


def encode_all(tokenizer: Tokenizer, texts: Sequence[str], context_length: int) -> list[list[int]]:
    """The same for many texts, on all cores."""
    return [started(tokenizer, ids[: context_length - 1]) for ids in tokenizer.encode_batch(texts)]
