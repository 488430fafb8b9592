"""The work of `evaluate`: bits per byte on held-out documents, beside an n-gram model, xz and the champion; gates judge it."""

import hashlib
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flows.pipeline.stage import Job, Outcome
from flows.recipes.sections import EvaluationConfig
from flows.work.gates import Gate, champion_gate, ngram_gate
from infra.plots import loss_curve
from infra.store.errors import NotFoundError
from infra.store.manifest import Thing, publish
from llm.data.splitting import Split
from llm.data.tokens import TokenStream
from llm.evaluation.bits_per_byte import Scores, bits_per_byte, paired_difference, score_documents
from llm.evaluation.compression import xz, xz_after
from llm.evaluation.golden import golden_completions
from llm.evaluation.intervals import Interval
from llm.evaluation.ngram import NgramModel
from llm.events import Noted, Progress
from llm.models.causal import CausalModel
from llm.models.hub import load_model
from llm.serving.sampling import continue_text
from llm.text.files import TOKENIZER_FILES
from llm.text.tokenizer import Tokenizer
from llm.training.history import History
from llm.training.numerics import fastest_device

_PROMPT_WORDS = 4
_GOLDEN_TOKENS = 16
_RIVAL_TRAINING_BYTES = 8_000_000  # what the n-gram model and xz learn from at most


def work(job: Job, config: EvaluationConfig) -> Outcome:
    tokens, package = job.inputs["tokens"], job.inputs["package"]
    held_out, training = _texts(tokens, "test", config.max_bytes), _texts(tokens, "train", _RIVAL_TRAINING_BYTES)
    model, tokenizer = _load(package)
    job.observe(Noted(f"scoring {len(held_out):,} held-out documents"))
    scores = _score(model, tokenizer, held_out)
    measured = {"model": bits_per_byte(scores), "ngram": bits_per_byte(NgramModel.fit(training, order=3).bits(held_out))}
    gates = [ngram_gate(measured["model"], measured["ngram"])] if config.beat_ngram else []
    if "champion" in job.inputs:
        job.observe(Noted("scoring the champion on the same documents"))
        champion = _score(*_load(job.inputs["champion"]), held_out)
        measured["champion"] = bits_per_byte(champion)
        gates.append(champion_gate(paired_difference(scores, champion), config.max_regression))
    compressed = {"xz": xz(held_out), "xz_after_training_text": xz_after(training, held_out)}
    samples = _samples(job, config.prompts or _beginnings(held_out), config.new_tokens, model, tokenizer)
    golden = golden_completions(model, tokenizer, _beginnings(held_out), _GOLDEN_TOKENS)
    evidence = {**_evidence(job, config, measured, compressed, gates, samples), "golden": golden}
    folder = job.scratch / "evidence"
    folder.mkdir()
    (folder / "evidence.json").write_text(json.dumps(evidence, indent=2, ensure_ascii=False) + "\n")
    _draw(job, package, measured, compressed, folder / "loss-curve.png")
    job.still_ours()
    published = publish(job.store, f"runs/{job.run}/artifacts/evidence", folder, {"kind": "evidence", "package": package.version})
    result = {
        "bits_per_byte": measured["model"].document(),
        "ngram_bits_per_byte": measured["ngram"].value,
        "xz_bits_per_byte": compressed["xz"],
        "gates": [asdict(gate) for gate in gates],
        "samples": samples,
        "loss_curve": published.place("loss-curve.png") if "loss-curve.png" in published.files else "",
    }
    return Outcome({"evidence": published}, result)


def _texts(tokens: Thing, split: Split, max_bytes: int) -> list[str]:
    """The documents of a split as they were tokenized; of more than `max_bytes`, evenly chosen ones."""
    tokenizer = Tokenizer.load(tokens.folder(*TOKENIZER_FILES))
    share = min(1.0, max_bytes / max(1, tokens.facts["splits"][split]["bytes"]))
    chosen = (
        ids for place, ids in enumerate(TokenStream(tokens, split).documents()) if int((place + 1) * share) > int(place * share)
    )
    return [tokenizer.decode(ids.tolist()) for ids in chosen]


def _load(package: Thing) -> tuple[CausalModel, Tokenizer]:
    folder = package.folder()
    return load_model(folder).to(fastest_device()), Tokenizer.load(folder)


def _score(model: CausalModel, tokenizer: Tokenizer, documents: Sequence[str]) -> Scores:
    return score_documents(model, tokenizer, documents, context_length=model.config.context_length, batch_size=16)


def _beginnings(documents: Sequence[str]) -> tuple[str, ...]:
    """The first words of three documents from all over the held-out ones."""
    places = sorted({0, len(documents) // 3, 2 * len(documents) // 3})
    return tuple(" ".join(documents[place].split()[:_PROMPT_WORDS]) for place in places)


def _samples(job: Job, prompts: Sequence[str], new_tokens: int, model: CausalModel, tokenizer: Tokenizer) -> list[dict[str, str]]:
    found = []
    for prompt in prompts:
        text = continue_text(model, tokenizer, prompt, max_new_tokens=new_tokens, temperature=0.7, top_p=0.9, seed=1)
        found.append({"prompt": prompt, "text": text})
        job.observe(Progress("continuing", len(found), len(prompts), "sentences"))
    return found


def _evidence(
    job: Job,
    config: EvaluationConfig,
    measured: dict[str, Interval],
    compressed: dict[str, float],
    gates: Sequence[Gate],
    samples: list[dict[str, str]],
) -> dict[str, Any]:
    return {
        "format": 1,
        "kind": "base",
        "headline": {"name": "bits per byte", "value": measured["model"].value},
        "package": job.inputs["package"].version,
        "champion": job.inputs["champion"].version if "champion" in job.inputs else None,
        "dataset": {"version": job.inputs["tokens"].version, "split": "test", "max_bytes": config.max_bytes},
        "bits_per_byte": {name: interval.document() for name, interval in measured.items()}
        | {name: {"value": value} for name, value in compressed.items()},
        "gates": [asdict(gate) for gate in gates],
        "samples": samples,
        "prompts_sha256": [hashlib.sha256(sample["prompt"].encode()).hexdigest() for sample in samples],
        "hardware": hardware(),
    }


def hardware() -> dict[str, Any]:
    """What it was measured on."""
    return {
        "device": fastest_device(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }


def _draw(job: Job, package: Thing, measured: dict[str, Interval], compressed: dict[str, float], picture: Path) -> None:
    """The run's loss curve again, now with the test documents' scores as lines; a base model from elsewhere has no curve."""
    try:
        metrics = job.store.get_file(f"{package.prefix.removesuffix('/artifacts/package')}/metrics.parquet")
    except NotFoundError:
        return
    history = History.read(metrics)
    steps, losses = zip(*history.series("loss"), strict=True)
    scores = {"this model": measured["model"].value, "order-3 n-gram": measured["ngram"].value, "xz": compressed["xz"]}
    loss_curve(
        steps,
        losses,
        picture,
        validation=list(history.series("validation_bits_per_byte")),
        references={f"{name}, test": value for name, value in scores.items()},
        title="Pretraining",
    )
