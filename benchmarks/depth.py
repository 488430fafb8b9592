"""`python -m benchmarks.depth`: does the one dial `model.depth` derive settings that are good, and does loss fall along it?

For each depth a run at its own horizon with the derived learning rate and at multiples of it, then the power law through all
runs. Every run's result is appended to a file of JSON lines: what is there already is not run again.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.books import CACHE, Books, books
from llm.models.config import padded
from llm.models.llama import Llama
from llm.training import depth as dial
from llm.training.numerics import Numerics
from llm.training.optimizers import make_optimizer
from llm.training.scaling import Outcome, fit
from llm.training.schedules import learning_rate
from llm.training.step import NextToken, train_step

_FLOOR = 0.6  # bits per byte that no model of English prose goes below, roughly where the largest ones end
_PUBLISHED = (0.34, 0.28)  # exponents of size and data (Hoffmann et al., 2022), where our runs are too few to tell
_ENOUGH = 6  # runs from which they are fitted too
_WARMUP, _DECAY, _WEIGHT_DECAY, _CLIP = 0.03, 0.5, 0.1, 1.0
_VALIDATION_ROWS = 128


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    runs = [
        {"depth": depth, "tokens_per_parameter": horizon, "factor": factor, "seed": seed, **_same(arguments)}
        for horizon in arguments.tokens_per_parameter
        for depth in arguments.depths
        for factor in arguments.factors
        for seed in range(1, arguments.seeds + 1)
    ]
    text = books(arguments.vocabulary)
    results: list[dict[str, Any]] = []
    for run in runs:
        found = _known(arguments.results, run)
        if found is None:
            found = {**run, **train(text, **run)}
            with arguments.results.open("a") as file:
                file.write(json.dumps(found) + "\n")
        results.append(found)
        if not arguments.json:
            print(_line(found), flush=True)
    report = _report(results)
    print(json.dumps(report) if arguments.json else _text(report))


def train(
    text: Books, *, depth: int, tokens_per_parameter: float, factor: float, seed: int, length: int, optimizer: Any, vocabulary: int
) -> dict[str, Any]:
    """One run at the horizon with the derived settings, its learning rate multiplied by `factor`."""
    shape = dial.shape(depth, vocabulary=padded(vocabulary), context_length=length)
    tokens = tokens_per_parameter * shape.parameters()
    derived = dial.settings(shape, sequence_length=length, tokens_per_parameter=tokens_per_parameter)
    steps = max(1, round(tokens / (derived.batch_size * length)))
    numerics, objective = Numerics.decide("auto", optimizer), NextToken()
    model = Llama(shape)
    model.initialise(seed)
    update = make_optimizer(optimizer, model, weight_decay=_WEIGHT_DECAY, half=numerics.precision != "fp32")
    order = text.order(length, derived.batch_size, seed)
    start = time.perf_counter()
    for step in range(steps):
        rate = learning_rate(
            "warmup-stable-decay",
            step,
            steps,
            peak=factor * derived.learning_rate,
            warmup_share=_WARMUP,
            decay_share=_DECAY,
        )
        batch = text.batch(order, step, length)
        train_step(model, objective, [batch], update, learning_rate=rate, gradient_clip=_CLIP, numerics=numerics)
    seconds = time.perf_counter() - start
    rows = text.validation(_VALIDATION_ROWS, length)
    with torch.no_grad():
        nats = sum(float(objective.loss(model, part)) for part in rows.split(16))
    return {
        "parameters": shape.parameters(),
        "body_parameters": shape.body_parameters(),
        "batch_size": derived.batch_size,
        "learning_rate": derived.learning_rate,
        "steps": steps,
        "tokens": steps * derived.batch_size * length,
        "seconds": round(seconds, 1),
        "bits_per_byte": round(text.bits_per_byte(nats, rows), 4),
    }


def _report(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Loss by depth at the derived rate, what another rate would have gained, and the power law."""
    horizons = sorted({run["tokens_per_parameter"] for run in results})
    ladders, gains = {}, {}
    for horizon in horizons:
        here = [run for run in results if run["tokens_per_parameter"] == horizon]
        means = {
            (depth, factor): _mean([run["bits_per_byte"] for run in here if (run["depth"], run["factor"]) == (depth, factor)])
            for depth, factor in sorted({(run["depth"], run["factor"]) for run in here})
        }
        ladders[horizon] = {depth: value for (depth, factor), value in means.items() if factor == 1}
        gains[horizon] = {
            depth: 1 - min(value for (d, _), value in means.items() if d == depth) / derived
            for depth, derived in ladders[horizon].items()
        }
    falls = all(list(ladder.values()) == sorted(ladder.values(), reverse=True) for ladder in ladders.values())
    report: dict[str, Any] = {"runs": list(results), "bits_per_byte": ladders, "gain_of_the_best_rate": gains, "falls": falls}
    outcomes = [Outcome(run["body_parameters"], run["tokens"], run["bits_per_byte"]) for run in results if run["factor"] == 1]
    try:
        law = fit(outcomes, _FLOOR, None if len(outcomes) >= _ENOUGH else _PUBLISHED)
    except ValueError as error:
        return {**report, "law": None, "why_no_law": str(error)}
    errors = [abs(law.bits_per_byte(each.parameters, each.tokens) / each.bits_per_byte - 1) for each in outcomes]
    return {**report, "law": law.__dict__, "largest_relative_error": max(errors)}


def _text(report: dict[str, Any]) -> str:
    lines = [
        f"{horizon} tokens a parameter: " + ", ".join(f"depth {depth} {value:.3f}" for depth, value in ladder.items())
        for horizon, ladder in report["bits_per_byte"].items()
    ]
    lines += [
        f"{horizon} tokens a parameter, bits per byte that the best tried rate saves: "
        + ", ".join(f"depth {depth} {gain:.1%}" for depth, gain in gains.items())
        for horizon, gains in report["gain_of_the_best_rate"].items()
    ]
    lines.append(f"loss falls with depth: {'yes' if report['falls'] else 'no'}")
    law = f"{report['law']}, largest error {report['largest_relative_error']:.1%}" if report["law"] else report["why_no_law"]
    return "\n".join([*lines, f"power law: {law}"])


def _line(run: dict[str, Any]) -> str:
    return (
        f"depth {run['depth']}, {run['tokens_per_parameter']} tokens a parameter, {run['factor']} x {run['learning_rate']}: "
        f"{run['bits_per_byte']:.3f} bits per byte, {run['steps']} steps of {run['batch_size']} rows, {run['seconds']:.0f} s"
    )


def _known(results: Path, run: dict[str, Any]) -> dict[str, Any] | None:
    results.parent.mkdir(parents=True, exist_ok=True)
    lines = results.read_text().splitlines() if results.exists() else []
    return next((done for done in map(json.loads, lines) if run.items() <= done.items()), None)


def _same(arguments: argparse.Namespace) -> dict[str, Any]:
    return {"length": arguments.length, "optimizer": arguments.optimizer, "vocabulary": arguments.vocabulary}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.depth", description=__doc__)
    parser.add_argument("--depths", type=int, nargs="+", default=[2, 3, 4])
    parser.add_argument("--tokens-per-parameter", type=float, nargs="+", default=[0.1, 0.2])
    parser.add_argument("--factors", type=float, nargs="+", default=[0.5, 1.0, 2.0], help="of the derived learning rate")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--optimizer", choices=("adamw", "muon"), default="muon")
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--results", type=Path, default=CACHE / "depth.jsonl", help="JSON lines, one a run; read and added to")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
