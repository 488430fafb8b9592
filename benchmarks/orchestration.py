"""What orchestration costs: `python -m benchmarks.orchestration [--minutes 5] [--rounds N] [--long-rounds N] [--json]`.

On the same prepared data, in turn:
- the start: from exec to the end of the first step and from the last step to the end, of a flow beside the bare loop; cold, and
  with `slipway up`; part by part. The same on two Ray workers, beside Ray's own TorchTrainer and beside ours without a flow;
- the long run: the bare loop, the flow with MLflow, the flow on one Ray worker with as many threads, all the same number of steps:
  as many as the bare loop makes in `--minutes`, by its speed in a run before. Seconds from the first step to the last.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.paired import turns
from benchmarks.timed_flow import HEAD
from flows.recipes.loading import load_recipe
from flows.recipes.recipes import PretrainRecipe
from infra.store import open_store
from infra.store.manifest import load

BAR, GOAL = 1.05, 1.01  # of the long run, to the bare loop
_PROBE_STEPS: Final = 40
_SHIPPING_SECONDS: Final = 120.0

Times = dict[str, float]  # seconds since exec at which each part was over


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.orchestration", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="rounds of the start")
    parser.add_argument("--ray-rounds", type=int, default=3, help="rounds of the start on two Ray workers")
    parser.add_argument("--minutes", type=float, default=5.0, help="that the bare loop takes in the long run")
    parser.add_argument("--steps", type=int, default=0, help="of the long run, in the place of --minutes")
    parser.add_argument("--long-rounds", type=int, default=3, help="rounds of the long run")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slipway-orchestration-") as folder:
        bench = Bench(Path(folder))
        document: dict[str, Any] = {}
        if given.rounds:
            document["start"] = bench.start(given.rounds)
        if given.ray_rounds:
            document["start_on_ray"] = bench.start_on_ray(given.ray_rounds)
        if given.long_rounds:
            steps = given.steps or bench.steps_of(given.minutes)
            document["long_run"] = bench.long_run(steps, given.long_rounds)
    print(json.dumps(document, indent=2) if given.json else text(document))


class Bench:
    """A home of its own with prepared data; every run differs in its seed, so that nothing is reused but the data."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        self.env = {**os.environ, "SLIPWAY_HOME": str(self.home)}
        self.seed = 1000
        command = [sys.executable, "-m", "benchmarks.timed_flow", "run", "prepare-data", "--recipe", "tiny", "--json"]
        prepared = json.loads(self._run(command)[1].stdout)
        key = next(stage["key"] for stage in prepared["stages"] if stage["stage"] == "prepare-data")
        record = json.loads((self.home / "store" / "stages" / f"{key}.json").read_text())
        self.tokens = record["outputs"]["tokens"]["prefix"]

    def start(self, rounds: int) -> dict[str, Any]:
        """Runs of one step."""
        cold, bare = [], []
        for _ in range(rounds):
            bare.append(self.bare(1))
            cold.append(self.flow(1))
        with self._services():
            warm = [self.flow(1) for _ in range(rounds)]
        return {
            "bare": _parts(bare),
            "cold": _parts(cold),
            "with_up": _parts(warm),
            "overhead_cold": _over(cold, bare),
            "overhead_with_up": _over(warm, bare),
        }

    def start_on_ray(self, rounds: int) -> dict[str, Any]:
        """Runs of one step on two workers."""
        plain, ours, flow = [], [], []
        for _ in range(rounds):
            plain.append(self.bare(1, workers=2, plain=True))
            ours.append(self.bare(1, workers=2))
            flow.append(self.flow(1, workers=2))
        return {
            "plain_ray": _parts(plain),
            "ours_without_a_flow": _parts(ours),
            "flow": _parts(flow),
            "overhead_of_a_flow": _over(flow, ours),
            "overhead_to_plain_ray": _over(flow, plain),
        }

    def steps_of(self, minutes: float) -> int:
        """How many steps the bare loop makes in so many minutes."""
        probe = self.bare(_PROBE_STEPS)
        return max(2, round(60 * minutes * (_PROBE_STEPS - 1) / _steps_seconds(probe)))

    def long_run(self, steps: int, rounds: int) -> dict[str, Any]:
        contenders = {
            "bare": lambda: self.bare(steps),
            "flow": lambda: self.flow(steps),
            "flow_on_ray": lambda: self.flow(steps, workers=1),
        }
        times: dict[str, list[Times]] = {name: [] for name in contenders}
        for name in turns(list(contenders), rounds):
            times[name].append(contenders[name]())
        seconds = {name: [_steps_seconds(run) for run in runs] for name, runs in times.items()}
        ratios = {
            name: [ours / bare for ours, bare in zip(taken, seconds["bare"], strict=True)]
            for name, taken in seconds.items()
            if name != "bare"
        }
        return {"steps": steps, "seconds": seconds, "whole_seconds": _wholes(times), "ratio_to_bare": ratios}

    def bare(self, steps: int, *, workers: int = 0, plain: bool = False) -> Times:
        """The loop alone. plain: on workers that are started as Ray's own guide does."""
        recipe = load_recipe(PretrainRecipe, "tiny", self._settings(steps, workers))
        vocabulary = load(open_store(f"{self.home}/store"), self.tokens).facts["vocabulary"]
        shape = recipe.model.shape(vocabulary=vocabulary, context_length=recipe.training.sequence_length)
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            store = Path(scratch) / "store"  # of its own for checkpoints, the data is shared
            store.mkdir()
            (store / "datasets").symlink_to(self.home / "store" / "datasets")
            document = {
                "store": str(store),
                "tokens": self.tokens,
                "scratch": scratch,
                "training": asdict(recipe.training),
                "model": asdict(shape),
            }
            job = Path(scratch) / "job.json"
            job.write_text(json.dumps(document))
            module = "benchmarks.bare_ray" if workers else "benchmarks.bare_loop"
            began, finished = self._run([sys.executable, "-m", module, str(job), *(["--plain"] if plain else [])])
        return _since(began, json.loads(finished.stdout.splitlines()[-1]))

    def flow(self, steps: int, *, workers: int = 0) -> Times:
        """`slipway run pretrain`, with MLflow; and how long after its end MLflow has everything."""
        settings = [f"--set={setting}" for setting in self._settings(steps, workers)]
        command = [sys.executable, "-m", "benchmarks.timed_flow", "run", "pretrain", "--recipe", "tiny", "--json", *settings]
        began, finished = self._run(command)
        seen = json.loads(next(line for line in finished.stderr.splitlines() if line.startswith(HEAD)).removeprefix(HEAD))
        spool = max((self.home / "spool").glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
        records = [json.loads(line) for line in spool.read_text().splitlines()]
        made = [record["time"] for record in records if record["kind"] == "metrics" and "loss" in record["values"]]
        opened = next(record["time"] for record in records if record["kind"] == "opened")
        told = {"the flow and its stage begun": opened, "first step": made[0], "last step": made[-1]}
        return _since(began, seen | told | {"MLflow has everything": self._shipped(spool)})

    def _shipped(self, spool: Path) -> float:
        """When the shipper, a process of its own, was done."""
        state, deadline = spool.with_suffix(".shipped.json"), time.monotonic() + _SHIPPING_SECONDS
        while time.monotonic() < deadline:
            if state.exists() and json.loads(state.read_text())["complete"]:
                return state.stat().st_mtime
            time.sleep(0.1)
        raise TimeoutError(f"{spool} was not shipped within {_SHIPPING_SECONDS:.0f} seconds")

    def _settings(self, steps: int, workers: int) -> list[str]:
        self.seed += 1
        settings = {"steps": steps, "batch_size": 8, "seed": self.seed, "workers": workers, "compile": "never"}
        return [f"training.{key}={value}" for key, value in settings.items()]

    @contextmanager
    def _services(self) -> Iterator[None]:
        self._run([sys.executable, "-m", "benchmarks.timed_flow", "up"])
        try:
            yield
        finally:
            self._run([sys.executable, "-m", "benchmarks.timed_flow", "down"])

    def _run(self, command: Sequence[str]) -> tuple[float, "subprocess.CompletedProcess[str]"]:
        began = time.time()
        finished = subprocess.run(command, env=self.env, check=False, capture_output=True, text=True)
        if finished.returncode:
            said = f"{finished.stdout[-1000:]}\n{finished.stderr[-2000:]}"  # with --json an error stands in the document
            raise RuntimeError(f"{' '.join(command)} ended with {finished.returncode}:\n{said}")
        return began, finished


def _since(began: float, seen: Mapping[str, float]) -> Times:
    return {part: at - began for part, at in seen.items()}


def _steps_seconds(times: Times) -> float:
    return times["last step"] - times["first step"]


def _parts(runs: Sequence[Times]) -> Times:
    """Seconds of each part, the medians, in the order in which the parts are over."""
    order = sorted(runs[0], key=runs[0].__getitem__)
    return {
        part: round(median(run[part] - (run[before] if before else 0.0) for run in runs), 2)
        for before, part in zip((None, *order), order, strict=False)
    }


def _over(ours: Sequence[Times], theirs: Sequence[Times]) -> dict[str, list[float]]:
    """Seconds more than the others, round by round: until the first step, and from the last one to the end."""
    pairs = list(zip(ours, theirs, strict=True))
    return {
        "to_first_step": [round(a["first step"] - b["first step"], 2) for a, b in pairs],
        "after_last_step": [round((a["end"] - a["last step"]) - (b["end"] - b["last step"]), 2) for a, b in pairs],
    }


def _wholes(times: Mapping[str, Sequence[Times]]) -> dict[str, list[float]]:
    return {name: [round(run["end"], 1) for run in runs] for name, runs in times.items()}


def text(document: Mapping[str, Any]) -> str:
    """For people."""
    lines = []
    for name in ("start", "start_on_ray"):
        for what, found in document.get(name, {}).items():
            lines.append(f"{name}, {what}, s".replace("_", " "))
            for part, value in found.items():
                shown = _spread(value) if isinstance(value, list) else f"{value:7.2f}"
                lines.append(f"  {part.replace('_', ' '):<36}{shown}")
    if long := document.get("long_run"):
        lines.append(f"{long['steps']} steps, seconds from the first to the last; and of the whole command")
        for name, seconds in long["seconds"].items():
            lines.append(f"  {name:<14}{_spread(seconds)}   {_spread(long['whole_seconds'][name])}")
        for name, ratios in long["ratio_to_bare"].items():
            lines.append(f"  {name} / bare: {_spread(ratios, 4)}   bar {BAR}, goal {GOAL}")
    return "\n".join(lines)


def _spread(values: Sequence[float], digits: int = 2) -> str:
    return f"{median(values):7.{digits}f}  [{min(values):.{digits}f}, {max(values):.{digits}f}]  n={len(values)}"


if __name__ == "__main__":
    main()
