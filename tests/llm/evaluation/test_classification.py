"""Scores of a classifier are those that others compute, and its rivals are given the same chance."""

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, precision_recall_fscore_support

from infra.store.errors import InputError
from llm.evaluation.bits_per_byte import NotFiniteError
from llm.evaluation.classification import (
    accuracy,
    by_class,
    classify,
    confusion,
    macro_f1,
    majority,
    paired_difference,
    tfidf_logistic_regression,
)
from llm.evaluation.golden import golden_classifications
from llm.models.build import new_model
from llm.models.classifier import Classifier, encode
from llm.models.presets import preset
from llm.text.tokenizer import Tokenizer

TEXTS = ["a long text about the sea and the ships on it", "ships", "", "a cold wind from the north, and no harbour near"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS, 300)


@pytest.fixture
def model() -> Classifier:
    body = new_model(preset("llama-tiny", vocabulary=300, context_length=16))
    classifier = Classifier(body, ("sea", "wind", "land"))
    torch.nn.init.normal_(classifier.score.weight, generator=torch.Generator().manual_seed(0))
    return classifier


def guesses(n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    truth = random.choice(["a", "b", "c"], n, p=[0.6, 0.3, 0.1])
    return truth, np.where(random.random(n) < 0.7, truth, random.choice(["a", "b", "c"], n))


@torch.no_grad()
def test_each_text_gets_the_probabilities_it_gets_alone(model: Classifier, tokenizer: Tokenizer) -> None:
    together = classify(model, tokenizer, TEXTS)
    assert together.sum(axis=1) == pytest.approx(np.ones(4))
    for text, row in zip(TEXTS, together, strict=True):
        ids = encode(tokenizer, text, 16)
        alone = model(torch.tensor([ids]), torch.tensor([len(ids)])).softmax(dim=1)[0]
        assert row == pytest.approx(alone.numpy(), abs=1e-5)


def test_golden_answers_are_the_likeliest_labels(model: Classifier, tokenizer: Tokenizer) -> None:
    found = classify(model, tokenizer, TEXTS[:2])
    golden = golden_classifications(model, tokenizer, TEXTS[:2])
    assert [each["kind"] for each in golden] == ["classification"] * 2
    assert [each["input"] for each in golden] == list(TEXTS[:2])
    assert [each["label"] for each in golden] == [model.labels[row.argmax()] for row in found]
    assert [each["probability"] for each in golden] == pytest.approx([float(row.max()) for row in found], abs=1e-6)


def test_a_broken_model_is_an_error_and_no_score(model: Classifier, tokenizer: Tokenizer) -> None:
    torch.nn.init.constant_(model.score.weight, torch.nan)
    with pytest.raises(NotFiniteError):
        classify(model, tokenizer, TEXTS)


def test_accuracy_and_macro_f1_are_those_of_scikit_learn_within_their_intervals() -> None:
    truth, predicted = guesses()
    right, f1 = accuracy(truth, predicted), macro_f1(truth, predicted)
    assert right.value == pytest.approx(float((truth == predicted).mean()))
    assert f1.value == pytest.approx(f1_score(truth, predicted, average="macro"))
    for interval, width in ((right, 0.10), (f1, 0.16)):
        assert interval.low < interval.value < interval.high
        assert interval.high - interval.low < width
        assert interval.n == 400


def test_the_interval_covers_the_true_accuracy_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        right = random.random(150) < 0.8
        found = accuracy(np.full(150, "a"), np.where(right, "a", "b"))
        covered += found.low <= 0.8 <= found.high
    assert 180 <= covered <= 199


def test_labels_are_scored_one_by_one_and_what_never_occurs_is_zero() -> None:
    truth, predicted = guesses()
    labels = ("a", "b", "c", "never")
    counts = confusion(truth, predicted, labels)
    assert counts.sum() == 400
    assert counts[0, 1] == ((truth == "a") & (predicted == "b")).sum()
    precision, recall, f1, rows = precision_recall_fscore_support(truth, predicted, labels=["a", "b", "c"])
    scores = by_class(labels, counts)
    for place in range(3):
        found = scores[place]
        assert (found.precision, found.recall, found.f1) == pytest.approx((precision[place], recall[place], f1[place]))
        assert found.rows == rows[place]
    assert (scores[3].rows, scores[3].f1) == (0, 0.0)


def test_pairing_sees_a_difference_that_two_intervals_would_hide() -> None:
    truth, ours = guesses()
    theirs = ours.copy()
    worse = np.flatnonzero(ours == truth)[:20]
    theirs[worse] = "none"
    difference = paired_difference(truth, ours, theirs)
    assert difference.value == pytest.approx(20 / 400)
    assert difference.low > 0
    assert accuracy(truth, ours).low < accuracy(truth, theirs).high
    with pytest.raises(InputError, match="different texts"):
        paired_difference(truth, ours, theirs[:-1])


def test_the_rivals_learn_from_the_training_rows() -> None:
    texts = [f"{word} {i} and more" for i in range(30) for word in ("storm", "harbour")]
    labels = ["wind", "land"] * 30
    assert tfidf_logistic_regression(texts, labels, ["a storm", "the harbour"]).tolist() == ["wind", "land"]
    assert tfidf_logistic_regression(["!", "?"] * 5, ["x", "y"] * 5, ["?"]).tolist() == ["y"]
    assert majority(["x", "y", "y"], 3).tolist() == ["y", "y", "y"]
