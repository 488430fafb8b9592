"""`python -m benchmarks.convergence`: how good a model is after equal minutes of training, ours beside the best peer.

Both sides train llama-14m on the same books, tokenizer, batches and order. The speed of each is measured first, in turn, and
gives the steps that fit into the minutes: a schedule has to know its end. Then each side tries three learning rates, one run
each, and its best one goes on with further seeds. The minutes count training steps alone: compiling (all of it in the warm-up
before the speed is measured) and validation count for neither side. A line is appended to the results after each run; started
again, it goes on from there, with the speeds that were measured first.
"""

import argparse
import json
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import torch

from benchmarks.books import CACHE, Books, books
from benchmarks.contenders import MODEL, Contender, Ours, Transformers
from llm.training.config import TrainingConfig

BAR: Final = -0.04  # relative difference in bits per byte
_VOCABULARY: Final = 4096
_VALIDATION_ROWS: Final = 256  # of 256 tokens: 66,000 targets
_WARM_UP, _TIMED = 3, 8  # steps of each side before its speed counts, and rounds that count


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    text = books(_VOCABULARY)
    config = TrainingConfig(
        steps=1,
        batch_size=arguments.batch_size,
        sequence_length=arguments.length,
        **({"optimizer": arguments.optimizer} if arguments.optimizer else {}),
    )
    sides: dict[str, Contender] = {
        "ours": Ours(config, text.vocabulary),
        "peer": Transformers(config, text.vocabulary, compiled=arguments.compile_peer),
    }
    rates = {"ours": arguments.rates_ours, "peer": arguments.rates_peer}
    kept = arguments.results or CACHE / f"convergence-{arguments.minutes:g}-minutes.jsonl"
    kept.parent.mkdir(parents=True, exist_ok=True)
    setting = {"minutes": arguments.minutes, "batch_size": arguments.batch_size, "length": arguments.length}
    speeds = _speeds(kept, setting, sides, text, config)
    steps = {name: max(1, round(arguments.minutes * 60 * speed / config.tokens_per_step)) for name, speed in speeds.items()}
    _say(arguments, f"tokens/s: ours {speeds['ours']:,.0f}, peer {speeds['peer']:,.0f}; steps: {steps}")
    runs: dict[str, list[dict[str, Any]]] = {}
    for rate_number in range(max(map(len, rates.values()))):  # the sides in turn: what the machine does else falls on both
        for name, side in sides.items():
            if rate_number < len(rates[name]):
                rate = rates[name][rate_number]
                runs.setdefault(name, []).append(_run(kept, setting, name, side, text, config, rate, 1, steps[name]))
                _say(arguments, _line(runs[name][-1]))
    best = {name: min(done, key=lambda run: run["bits_per_byte"]) for name, done in runs.items()}
    final = {name: [run] for name, run in best.items()}
    for seed in range(2, arguments.seeds + 1):
        for name, side in sides.items():
            final[name].append(_run(kept, setting, name, side, text, config, best[name]["rate"], seed, steps[name]))
            _say(arguments, _line(final[name][-1]))
    report = summarise(final, rates) | {
        "model": MODEL,
        **setting,
        "tokens_per_second": speeds,
        "sides": {name: side.described() for name, side in sides.items()},
        "threads": arguments.threads,
        "machine": platform.processor() or platform.machine(),
        "sweep": runs,
    }
    print(json.dumps(report) if arguments.json else _text(report))


def summarise(final: Mapping[str, Sequence[Mapping[str, Any]]], rates: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """The runs of each side at its best rate, seed by seed: medians with their range, and the relative difference."""
    differences = [
        ours["bits_per_byte"] / peer["bits_per_byte"] - 1 for ours, peer in zip(final["ours"], final["peer"], strict=True)
    ]
    report: dict[str, Any] = {
        name: {
            "bits_per_byte": _range([run["bits_per_byte"] for run in runs]),
            "rate": runs[0]["rate"],
            "best_rate_at_an_edge": len(rates[name]) > 1 and runs[0]["rate"] in (min(rates[name]), max(rates[name])),
            "steps": runs[0]["steps"],
            "seconds": _range([run["seconds"] for run in runs]),
        }
        for name, runs in final.items()
    }
    return report | {
        "seeds": len(differences),
        "relative_difference": _range(differences),
        "bar": BAR,
        "reached": median(differences) <= BAR,
    }


def _speeds(kept: Path, setting: dict[str, Any], sides: Mapping[str, Contender], text: Books, config: TrainingConfig) -> Any:
    """Tokens per second of each side: the median of steps made in turn."""
    known = [done for done in _lines(kept) if done.get("kind") == "speeds" and setting.items() <= done.items()]
    if known:
        return known[0]["tokens_per_second"]
    order = text.order(config.sequence_length, config.batch_size, seed=0)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        side.begin(seed=0, rate=1e-4, steps=1_000)
    for number in range(_WARM_UP + _TIMED):
        batch = text.batch(order, number, config.sequence_length)
        for name, side in sides.items():
            start = time.perf_counter()
            side.step(number, batch)
            seconds[name].append(time.perf_counter() - start)
    speeds = {name: config.tokens_per_step / median(taken[_WARM_UP:]) for name, taken in seconds.items()}
    _append(kept, {"kind": "speeds", **setting, "tokens_per_second": speeds})
    return speeds


def _run(
    kept: Path,
    setting: dict[str, Any],
    name: str,
    side: Contender,
    text: Books,
    config: TrainingConfig,
    rate: float,
    seed: int,
    steps: int,
) -> dict[str, Any]:
    """One training from fresh weights, or its result where it was made before."""
    key = {"kind": "run", **setting, "side": name, "how": side.described(), "rate": rate, "seed": seed, "steps": steps}
    if known := [done for done in _lines(kept) if key.items() <= done.items()]:
        return known[0]
    order, seconds, loss = text.order(config.sequence_length, config.batch_size, seed), 0.0, 0.0
    side.begin(seed=seed, rate=rate, steps=steps)
    for number in range(steps):
        batch = text.batch(order, number, config.sequence_length)
        start = time.perf_counter()
        loss = side.step(number, batch)
        seconds += time.perf_counter() - start
    rows = text.validation(_VALIDATION_ROWS, config.sequence_length)
    done = {
        **key,
        "bits_per_byte": text.bits_per_byte(side.nats(rows), rows),
        "last_loss": loss,
        "seconds": seconds,
    }
    _append(kept, done)
    return done


def _lines(kept: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []


def _append(kept: Path, document: dict[str, Any]) -> None:
    with kept.open("a") as file:
        file.write(json.dumps(document) + "\n")


def _range(values: Sequence[float]) -> dict[str, float]:
    return {"median": median(values), "low": min(values), "high": max(values)}


def _say(arguments: argparse.Namespace, line: str) -> None:
    if not arguments.json:
        print(line, flush=True)


def _line(run: Mapping[str, Any]) -> str:
    return (
        f"{run['side']}: rate {run['rate']:g}, seed {run['seed']}, {run['steps']} steps in {run['seconds']:.0f} s: "
        f"{run['bits_per_byte']:.4f} bits per byte"
    )


def _text(report: Mapping[str, Any]) -> str:
    lines = [f"{MODEL}, {report['minutes']:g} minutes of training, {report['seeds']} seeds, median [range]"]
    for name in ("ours", "peer"):
        side, bits = report[name], report[name]["bits_per_byte"]
        edge = ", an edge of the sweep" if side["best_rate_at_an_edge"] else ""
        lines.append(
            f"{name:<5} {bits['median']:.4f} [{bits['low']:.4f}, {bits['high']:.4f}] bits per byte: {report['sides'][name]}, "
            f"{side['steps']} steps, rate {side['rate']:g}{edge}"
        )
    found = report["relative_difference"]
    verdict = "reached" if report["reached"] else "not reached"
    return "\n".join(
        [*lines, f"difference {found['median']:+.1%} [{found['low']:+.1%}, {found['high']:+.1%}], bar {BAR:+.0%}: {verdict}"]
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.convergence", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0, help="of training a run; 10 for the claim")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rates-ours", type=float, nargs="+", default=[2e-3, 4e-3, 8e-3])
    parser.add_argument("--rates-peer", type=float, nargs="+", default=[1e-3, 2e-3, 4e-3])
    parser.add_argument("--optimizer", choices=("adamw", "muon"), help="of ours, in the place of the recipe's default")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--eager-peer", dest="compile_peer", action="store_false", help="where there is no C++ compiler")
    parser.add_argument("--results", type=Path, help="JSON lines, one a run; read and added to")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
