"""The n-gram model: the rival a pretrained model must beat has to be an honest one."""

import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from infra.store.errors import InputError
from llm.evaluation.bits_per_byte import bits_per_byte
from llm.evaluation.ngram import NgramModel

_TEXTS: list[bytes | str] = ["a ship is built on a slipway", "a slip of the tongue", b"\xff\x00bytes", "größer", "on the way"]


@pytest.mark.parametrize("order", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("before", [b"", b"a", b" slip", b"\xff\x00", b"never seen \x80\x81\x82"])
def test_the_probabilities_sum_to_one_and_none_is_zero(order: int, before: bytes) -> None:
    distribution = NgramModel.fit(_TEXTS, order).distribution(before)
    assert math.isclose(distribution.sum(), 1.0, rel_tol=1e-12)
    assert distribution.min() > 0


def test_a_document_costs_the_sum_of_its_bytes_each_predicted_from_its_start() -> None:
    model = NgramModel.fit(_TEXTS)
    document = b"a slipway"
    nats = -sum(math.log(model.distribution(document[:place])[byte]) for place, byte in enumerate(document))
    scores = model.bits(["other text first", document])
    assert math.isclose(scores.nats[1], nats, rel_tol=1e-12)
    assert scores.bytes.tolist() == [16, 9]


def test_a_document_does_not_depend_on_the_one_before_it() -> None:
    model = NgramModel.fit(_TEXTS)
    assert model.bits(["a slip", "on the way"]).nats[1] == model.bits(["on the way"]).nats[0]


def test_it_agrees_with_kneser_ney_written_out_slowly() -> None:
    text = bytes(random.Random(1).choices(b"abcd", weights=[8, 4, 2, 1], k=400))
    model = NgramModel.fit([text], order=2)
    for before in (b"", b"a", b"ab", b"dcb", b"xa"):
        expected = [_slowly(text, 2, before, byte) for byte in range(256)]
        np.testing.assert_allclose(model.distribution(before), expected, rtol=1e-10)


def test_longer_contexts_learn_more_and_no_context_learns_the_letters() -> None:
    generator = random.Random(2)
    words = ["stage", "store", "recipe", "ledger", "target", "gate"]
    texts = [" ".join(generator.choices(words, k=300)) for _ in range(20)]
    bits = [bits_per_byte(NgramModel.fit(texts[1:], order).bits(texts[:1])).value for order in range(4)]
    assert bits == sorted(bits, reverse=True)
    letters = Counter(texts[0].encode())
    entropy = -sum(count / letters.total() * math.log2(count / letters.total()) for count in letters.values())
    assert bits[0] == pytest.approx(entropy, abs=0.35)  # order 0 gives the letters by how many different ones they follow
    assert bits[3] < 1.0


def test_documents_without_text_are_left_out_and_counted() -> None:
    model = NgramModel.fit(["some text", ""])
    scores = model.bits(["", "text", "", "more"])
    assert (scores.bytes.tolist(), scores.empty) == ([4, 4], 2)
    assert (len(model.bits([""]).nats), model.bits([""]).empty) == (0, 1)


@pytest.mark.parametrize("texts", [[], [""]])
def test_learning_from_nothing_is_refused_by_name(texts: list[str]) -> None:
    with pytest.raises(InputError, match="no text for the n-gram model"):
        NgramModel.fit(texts)


def test_the_known_figure_on_real_text(data_folder: Path) -> None:
    paragraphs = (data_folder / "tinyshakespeare" / "input.txt").read_text().split("\n\n")
    passages = ["\n\n".join(paragraphs[start : start + 20]) for start in range(0, len(paragraphs), 20)]
    training = [passage for place, passage in enumerate(passages) if place % 10]
    interval = bits_per_byte(NgramModel.fit(training).bits(passages[::10]))
    assert interval.value == pytest.approx(2.2654, abs=0.0005)  # Witten-Bell on the same split: 2.2787
    assert interval.low < 2.2654 < interval.high


def _slowly(text: bytes, order: int, before: bytes, byte: int) -> float:
    """Interpolated modified Kneser-Ney by its definition, for one document; 256 stands before its start."""
    symbols = [256] * order + list(text)
    grams = [Counter(tuple(symbols[end - length : end + 1]) for end in range(order, len(symbols))) for length in range(order + 1)]
    probability = 1 / 256
    history = ([256] * order + list(before))[len(before) :]
    for length in range(order + 1):
        counts = dict(grams[length])
        if length < order:
            left = Counter(gram[1:] for gram in grams[length + 1])
            counts = {gram: count if gram[0] == 256 else left[gram] for gram, count in counts.items()}
        n1, n2, n3, n4 = (sum(count == times for count in counts.values()) for times in (1, 2, 3, 4))
        discounts = [0.0, 0.5, 1.0, 1.5]
        if n1 and n2 and n3:
            y = n1 / (n1 + 2 * n2)
            estimate = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
            discounts = [0.0, *(min(max(value, 0.05), times) for times, value in enumerate(estimate, start=1))]
        context = tuple(history[order - length :])
        follow = {gram[-1]: count for gram, count in counts.items() if gram[:-1] == context}
        if follow:
            freed = sum(discounts[min(count, 3)] for count in follow.values())
            own = follow.get(byte, 0)
            probability = (own - discounts[min(own, 3)] + freed * probability) / sum(follow.values())
    return probability
