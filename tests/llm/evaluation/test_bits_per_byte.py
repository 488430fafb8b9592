"""Bits per byte: every token counts once, with the context it should have, whatever the batch."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from infra.store.errors import InputError
from llm.evaluation.bits_per_byte import NotFiniteError, Scores, bits_per_byte, paired_difference, score_documents, windows
from llm.models.config import LlamaConfig
from llm.models.llama import Llama
from llm.text.tokenizer import Tokenizer

_DOCUMENTS = ["A slipway.", "größer", "x", "The ship is built on a slipway, and from it she is launched." * 3, "Two words"]


class ByteTokenizer:
    """A token a byte; 256 ends a document."""

    bos: int | None = None
    eos = 256

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [list(text.encode()) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(ids).decode(errors="replace")


class Bigram(nn.Module):
    """Predicts from the last token alone, so that no window can change its score."""

    def __init__(self) -> None:
        super().__init__()
        table = torch.randn(257, 257, generator=torch.Generator().manual_seed(1))
        self.table = nn.Parameter(table)

    def forward(self, ids: Tensor) -> Tensor:
        return self.table[ids]

    def nats(self, document: str, start: int = 256) -> float:
        ids = torch.tensor([start, *document.encode()])
        return float(F.cross_entropy(self.table.detach()[ids[:-1]].double(), ids[1:], reduction="sum"))


def _score(model: nn.Module, documents: Sequence[str], context_length: int = 64, batch_size: int = 4) -> Scores:
    return score_documents(model, ByteTokenizer(), documents, context_length=context_length, batch_size=batch_size)


@pytest.mark.parametrize("context_length", [1, 2, 7, 64, 1_000])
@pytest.mark.parametrize("batch_size", [1, 3, 50])
def test_every_byte_is_scored_once_in_any_context_and_batch(context_length: int, batch_size: int) -> None:
    model = Bigram()
    scores = _score(model, _DOCUMENTS, context_length, batch_size)
    np.testing.assert_allclose(scores.nats, [model.nats(document) for document in _DOCUMENTS], rtol=1e-5)
    assert scores.bytes.tolist() == [len(document.encode()) for document in _DOCUMENTS]


@pytest.mark.parametrize("context_length", [1, 2, 3, 8, 9])
@pytest.mark.parametrize("n_targets", [1, 2, 7, 8, 9, 12, 13, 100])
def test_windows_cover_each_target_once_with_half_a_context_or_more(n_targets: int, context_length: int) -> None:
    cut = list(windows(n_targets, context_length))
    assert [target for window in cut for target in range(window.scored, window.end)] == list(range(n_targets))
    assert all(1 <= window.end - window.start <= context_length for window in cut)
    assert all(window.scored - window.start >= context_length - max(1, context_length // 2) for window in cut[1:])


def test_a_document_is_predicted_from_the_token_that_starts_one_in_training() -> None:
    class WithStart(ByteTokenizer):
        bos = 255

    model = Bigram()
    assert _score(model, ["slip"]).nats[0] == pytest.approx(model.nats("slip", start=256))
    scores = score_documents(model, WithStart(), ["slip"], context_length=8, batch_size=1)
    assert scores.nats[0] == pytest.approx(model.nats("slip", start=255))


def test_a_llama_scores_a_document_the_same_alone_and_padded_in_a_batch() -> None:
    model = Llama(LlamaConfig(vocabulary=257, context_length=32, n_layers=2, width=32, n_heads=2, n_kv_heads=1, hidden=48)).train()
    documents = [document[:31] for document in _DOCUMENTS]
    together = _score(model, documents, context_length=32)
    for document, nats in zip(documents, together.nats, strict=True):
        ids = torch.tensor([[256, *document.encode()]])
        expected = F.cross_entropy(model(ids[:, :-1])[0], ids[0, 1:], reduction="sum").item()
        assert nats == pytest.approx(expected, rel=1e-5)
    assert model.training  # scoring amid training leaves the mode as it was


def test_a_uniform_model_needs_the_logarithm_of_its_vocabulary_a_token() -> None:
    class Uniform(Bigram):
        def forward(self, ids: Tensor) -> Tensor:
            return torch.zeros(*ids.shape, 512)

    texts = ["the store keeps the stages, the ledger keeps the releases"] * 3
    tokenizer = Tokenizer.train(texts, 300)
    scores = score_documents(Uniform(), tokenizer, texts, context_length=16, batch_size=2)
    assert bits_per_byte(scores).value == pytest.approx(9 * len(tokenizer.encode(texts[0])) / len(texts[0]))


def test_long_documents_weigh_by_their_bytes() -> None:
    scores = Scores(np.array([8.0, 900.0]) * math.log(2), np.array([2, 300]))
    interval = bits_per_byte(scores)
    assert interval.value == pytest.approx(908 / 302)
    assert interval.n == 2


def test_documents_without_text_are_left_out_and_counted() -> None:
    scores = _score(Bigram(), ["", "slip", ""])
    assert (scores.bytes.tolist(), scores.empty) == ([4], 2)
    with pytest.raises(InputError, match="none of the 2 held-out documents"):
        bits_per_byte(_score(Bigram(), ["", ""]))


def test_a_model_that_gives_nonsense_is_named_and_never_averaged() -> None:
    class Broken(Bigram):
        def forward(self, ids: Tensor) -> Tensor:
            return self.table[ids].masked_fill((ids == ord("w"))[..., None], math.nan)

    with pytest.raises(NotFiniteError, match="nan for 1 of 2 documents, first for number 2"):
        _score(Broken(), ["slip", "slipway"])


def test_a_tokenizer_that_loses_characters_is_refused() -> None:
    class Lossy(ByteTokenizer):
        def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
            return super().encode_batch([text.lower() for text in texts])

    with pytest.raises(InputError, match="document 2 of 2"):
        score_documents(Bigram(), Lossy(), ["slip", "Slip"], context_length=8, batch_size=1)


def test_a_small_gain_on_every_document_is_seen_although_documents_differ_widely() -> None:
    generator = np.random.default_rng(1)
    sizes = generator.integers(100, 1_000, 200)
    champion = Scores(sizes * generator.normal(1.5, 0.4, 200), sizes)
    candidate = Scores(champion.nats - 0.02 * sizes, sizes)
    difference = paired_difference(candidate, champion)
    assert difference.value == pytest.approx(-0.02 / math.log(2))
    assert difference.high < 0
    assert bits_per_byte(candidate).high > bits_per_byte(champion).low  # apart, the intervals cannot tell them


def test_candidate_and_champion_on_different_documents_are_not_compared() -> None:
    with pytest.raises(InputError, match="different documents"):
        paired_difference(Scores(np.ones(2), np.array([3, 4])), Scores(np.ones(2), np.array([3, 5])))


def test_progress_tells_of_every_window() -> None:
    heard: list[tuple[int, int]] = []
    score_documents(
        Bigram(),
        ByteTokenizer(),
        _DOCUMENTS,
        context_length=16,
        batch_size=2,
        progress=lambda done, total: heard.append((done, total)),
    )
    assert heard[-1][0] == heard[-1][1] == sum(len(list(windows(len(document.encode()), 16))) for document in _DOCUMENTS)
