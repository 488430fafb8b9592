"""The work of `evaluate-classifier`: accuracy and macro F1 on held-out texts, beside simple rivals and the champion; gates."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.pipeline.stage import Job, Outcome
from flows.recipes.sections import ClassifyEvaluation
from flows.work.evaluate import hardware
from flows.work.gates import champion_accuracy_gate, majority_gate
from infra.plots import confusion_matrix
from infra.store.manifest import Thing, publish
from llm.data.classification import read_examples
from llm.evaluation.classification import (
    ClassScore,
    Labels,
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
from llm.events import Noted, Progress
from llm.models.classifier import Classifier
from llm.models.hub import load_classifier
from llm.text.tokenizer import Tokenizer
from llm.training.numerics import fastest_device

_MISTAKES = 5


def work(job: Job, config: ClassifyEvaluation) -> Outcome:
    examples, package = job.inputs["examples"], job.inputs["package"]
    training, held_out = read_examples(examples, "train"), read_examples(examples, "test")
    texts, truth = [row.text for row in held_out], np.array([row.label for row in held_out])
    model, tokenizer = _load(package)
    job.observe(Noted(f"classifying {len(texts):,} held-out texts"))
    probabilities = classify(
        model, tokenizer, texts, progress=lambda done, total: job.observe(Progress("classifying", done, total, "texts"))
    )
    answers = {"model": np.array(model.labels)[probabilities.argmax(axis=1)]}
    answers["majority"] = majority([row.label for row in training], len(texts))
    job.observe(Noted("training TF-IDF with logistic regression on the same texts"))
    answers["tfidf"] = tfidf_logistic_regression([row.text for row in training], [row.label for row in training], texts)
    if "champion" in job.inputs:
        job.observe(Noted("the champion classifies the same texts"))
        champion, its_tokenizer = _load(job.inputs["champion"])
        answers["champion"] = np.array(champion.labels)[classify(champion, its_tokenizer, texts).argmax(axis=1)]
    counts = confusion(truth, answers["model"], model.labels)
    measured = Measured(
        {name: accuracy(truth, given).document() for name, given in answers.items()},
        {name: macro_f1(truth, given).document() for name, given in answers.items()},
        by_class(model.labels, counts),
        counts,
    )
    gates = _gates(config, truth, answers)
    mistakes = _mistakes(texts, truth, probabilities, model.labels)
    golden = golden_classifications(model, tokenizer, texts[: config.golden])
    folder = job.scratch / "evidence"
    folder.mkdir()
    evidence = _evidence(job, measured, gates, mistakes, golden)
    (folder / "evidence.json").write_text(json.dumps(evidence, indent=2, ensure_ascii=False) + "\n")
    confusion_matrix(model.labels, counts, folder / "confusion-matrix.png", title=f"{len(texts):,} held-out texts")
    job.still_ours()
    published = publish(job.store, f"runs/{job.run}/artifacts/evidence", folder, {"kind": "evidence", "package": package.version})
    result = {
        "accuracy": measured.accuracy["model"],
        "macro_f1": measured.macro_f1["model"],
        "majority_accuracy": measured.accuracy["majority"]["value"],
        "tfidf_accuracy": measured.accuracy["tfidf"]["value"],
        "tfidf_macro_f1": measured.macro_f1["tfidf"]["value"],
        "gates": gates,
        "confusion_matrix": published.place("confusion-matrix.png"),
    }
    return Outcome({"evidence": published}, result)


@dataclass(frozen=True, eq=False)
class Measured:
    """Accuracy and macro F1 of each way of answering, and the model's scores label by label."""

    accuracy: Mapping[str, Mapping[str, float | int | None]]
    macro_f1: Mapping[str, Mapping[str, float | int | None]]
    classes: Sequence[ClassScore]
    counts: NDArray[np.int64]


def _load(package: Thing) -> tuple[Classifier, Tokenizer]:
    folder = package.folder()
    return load_classifier(folder).to(fastest_device()), Tokenizer.load(folder)


def _gates(config: ClassifyEvaluation, truth: Labels, answers: Mapping[str, Labels]) -> list[dict[str, Any]]:
    gates = [majority_gate(paired_difference(truth, answers["model"], answers["majority"]))] if config.beat_majority else []
    if "champion" in answers:
        difference = paired_difference(truth, answers["model"], answers["champion"])
        gates.append(champion_accuracy_gate(difference, config.max_regression))
    return [asdict(gate) for gate in gates]


def _mistakes(
    texts: Sequence[str], truth: Labels, probabilities: NDArray[np.float64], labels: Sequence[str]
) -> list[dict[str, Any]]:
    """The wrong answers that the model was surest of, for people to read."""
    taken = np.array(labels)[probabilities.argmax(axis=1)]
    surest = sorted(np.flatnonzero(taken != truth).tolist(), key=lambda place: -probabilities[place].max())[:_MISTAKES]
    return [
        {
            "text": texts[place],
            "label": str(truth[place]),
            "taken_for": str(taken[place]),
            "probability": round(float(probabilities[place].max()), 4),
        }
        for place in surest
    ]


def _evidence(
    job: Job, measured: Measured, gates: list[dict[str, Any]], mistakes: list[dict[str, Any]], golden: list[dict[str, Any]]
) -> dict[str, Any]:
    examples = job.inputs["examples"]
    return {
        "format": 1,
        "kind": "classifier",
        "headline": {"name": "accuracy", "value": measured.accuracy["model"]["value"]},
        "package": job.inputs["package"].version,
        "champion": job.inputs["champion"].version if "champion" in job.inputs else None,
        "dataset": {"version": examples.version, "split": "test", "rows": sum(examples.facts["splits"]["test"].values())},
        "accuracy": measured.accuracy,
        "macro_f1": measured.macro_f1,
        "classes": [asdict(each) for each in measured.classes],
        "confusion": measured.counts.tolist(),
        "gates": gates,
        "mistakes": mistakes,
        "golden": golden,
        "hardware": hardware(),
    }
