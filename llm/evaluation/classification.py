"""How often a classifier is right, which classes it mixes up, and what simpler ways make of the same texts."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from infra.store.errors import InputError
from llm.data.examples import padded
from llm.evaluation.bits_per_byte import NotFiniteError
from llm.evaluation.intervals import LEVEL, Interval, ratio_interval
from llm.models.classifier import Classifier, Tokenizer, encode_all

Labels = NDArray[np.str_]
_RESAMPLES: Final = 2_000
_BATCH: Final = 32


@torch.no_grad()
def classify(
    model: Classifier,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> NDArray[np.float64]:
    """The probability of each label for each text: (len(texts), n_labels). Raises NotFiniteError where the model breaks."""
    rows = encode_all(tokenizer, texts, model.body.config.context_length)
    order = sorted(range(len(rows)), key=lambda place: len(rows[place]))  # like lengths together: little padding
    found = np.zeros((len(rows), len(model.labels)))
    device = model.score.weight.device
    was_training = model.training
    model.eval()
    try:
        for start in range(0, len(order), _BATCH):
            places = order[start : start + _BATCH]
            lengths = torch.tensor([len(rows[place]) for place in places], device=device)
            logits = model(padded([rows[place] for place in places]).to(device), lengths)  # (B, n_labels)
            found[places] = logits.double().softmax(dim=1).cpu().numpy()
            progress(start + len(places), len(order))
    finally:
        model.train(was_training)
    if not np.isfinite(found).all():
        raise NotFiniteError(
            "the classifier's output is not finite", where="evaluate-classifier", mend="Go back to an earlier version."
        )
    return found


@dataclass(frozen=True)
class ClassScore:
    """One label on the held-out texts: how many it has, how many were taken for it, and the shares that were right."""

    label: str
    rows: int
    predicted: int
    precision: float
    recall: float
    f1: float


def accuracy(truth: Labels, predicted: Labels) -> Interval:
    """The share of right labels, with an interval over texts."""
    return ratio_interval((truth == predicted).astype(np.float64), np.ones(len(truth)))


def paired_difference(truth: Labels, ours: Labels, theirs: Labels) -> Interval:
    """Our accuracy minus theirs on the same texts: above zero is better. Pairing takes out what is hard for both."""
    if not len(truth) == len(ours) == len(theirs):
        raise InputError(
            f"labels of different texts ({len(truth)}, {len(ours)} and {len(theirs)})",
            where="evaluate-classifier",
            mend="Classify the same texts.",
        )
    right = (truth == ours).astype(np.float64) - (truth == theirs).astype(np.float64)
    return ratio_interval(right, np.ones(len(truth)))


def macro_f1(truth: Labels, predicted: Labels, *, seed: int = 0) -> Interval:
    """The mean of each label's F1, those that occur among the texts or the answers, from 2,000 resamples of the texts."""
    labels = np.unique(np.concatenate([truth, predicted]))
    k, n = len(labels), len(truth)
    pairs = np.searchsorted(labels, truth) * k + np.searchsorted(labels, predicted)
    value = _macro_f1(np.bincount(pairs, minlength=k * k).reshape(k, k))
    if n == 1:
        return Interval(value, -np.inf, np.inf, n)
    generator = np.random.default_rng(seed)
    values = [_macro_f1(np.bincount(pairs[generator.integers(0, n, n)], minlength=k * k).reshape(k, k)) for _ in range(_RESAMPLES)]
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high), n)


def confusion(truth: Labels, predicted: Labels, labels: Sequence[str]) -> NDArray[np.int64]:
    """How many texts of each label (a row) were given which (a column): (n_labels, n_labels)."""
    place = {label: number for number, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    for is_, taken_for in zip(truth, predicted, strict=True):
        counts[place[str(is_)], place[str(taken_for)]] += 1
    return counts


def by_class(labels: Sequence[str], counts: NDArray[np.int64]) -> list[ClassScore]:
    """The scores of each label from the confusion matrix; what would be 0/0 is 0."""
    right, rows, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    return [
        ClassScore(
            label,
            int(rows[i]),
            int(predicted[i]),
            float(right[i] / max(1, predicted[i])),
            float(right[i] / max(1, rows[i])),
            float(2 * right[i] / max(1, rows[i] + predicted[i])),
        )
        for i, label in enumerate(labels)
    ]


def majority(training: Sequence[str], n: int) -> Labels:
    """What always naming the most frequent label of the training rows answers to n texts."""
    (label, _), *_ = Counter(training).most_common(1)
    return np.full(n, label)


def tfidf_logistic_regression(texts: Sequence[str], labels: Sequence[str], held_out: Sequence[str]) -> Labels:
    """What logistic regression on TF-IDF of words and pairs of words answers: the rival that a language model has to beat.

    Learns from all training rows, as the classifier does. C, tolerance and solver are those that did best on
    the demo's validation docstrings, at about a second.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer  # a second and 60 MB, and only an evaluation wants it
    from sklearn.linear_model import LogisticRegression

    words_and_marks = r"(?u)\w+|[^\w\s]"  # any text has one of them
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=words_and_marks)
    model = LogisticRegression(C=100.0, solver="saga", tol=1e-3, max_iter=1_000, random_state=0)
    model.fit(vectors.fit_transform(texts), labels)
    predicted: Labels = model.predict(vectors.transform(held_out)).astype(np.str_)
    return predicted


def _macro_f1(counts: NDArray[np.int64]) -> float:
    either = counts.sum(axis=0) + counts.sum(axis=1)
    occurring = either > 0
    return float((2 * np.diag(counts)[occurring] / either[occurring]).mean())
