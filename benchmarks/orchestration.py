"""What orchestration costs: `python -m benchmarks.orchestration [--rounds N] [--steps N] [--json]`.

Three figures, the bare loop and the orchestrated run in turn, on the same prepared data:
- overhead of a flow: from exec to the end of the first step, less the same of the bare loop; cold, and with `slipway up`;
- the same on two Ray workers, beside the same loop under a plain `TorchTrainer`;
- a longer run: wall time of the same steps, orchestrated over bare.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

BARE = """
import json, sys, time
from pathlib import Path
from llm.events import StepDone
from llm.models.config import padded
from llm.models.presets import preset
from llm.training.config import TrainingConfig
from llm.training.numerics import Numerics
from llm.training.pretrain import PretrainJob, pretrain
from infra.store import open_store
from infra.store.manifest import load

store, tokens, scratch, steps = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
training = TrainingConfig(steps=steps, batch_size=8, validate_every=0, checkpoint_every=0)
facts = load(open_store(store), tokens).facts
model = preset("llama-5m", vocabulary=padded(facts["vocabulary"]), context_length=training.sequence_length)
times = []
def observe(event):
    if isinstance(event, StepDone):
        times.append(time.time())
numerics = Numerics.decide("auto")
pretrain(PretrainJob(str(scratch / "store"), tokens, "pretrain-bare-1", (), scratch, model, training, steps, numerics), observe)
print(json.dumps([times[0], times[-1]]))
"""

BARE_RAY = """
import json, sys, time
from pathlib import Path
import ray.train
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from llm.events import StepDone
from llm.models.config import padded
from llm.models.presets import preset
from llm.training.config import TrainingConfig
from llm.training.numerics import Numerics
from llm.training.pretrain import PretrainJob, pretrain
from llm.training.topology import Topology
from infra.store import open_store
from infra.store.manifest import load

store, tokens, scratch = sys.argv[1], sys.argv[2], Path(sys.argv[3])
training = TrainingConfig(steps=1, batch_size=8, validate_every=0, checkpoint_every=0, workers=2)
facts = load(open_store(store), tokens).facts
model = preset("llama-5m", vocabulary=padded(facts["vocabulary"]), context_length=training.sequence_length)
job = PretrainJob(str(scratch / "store"), tokens, "pretrain-bare-1", (), scratch, model, training, 1, Numerics.decide("auto"))
def loop():
    context = ray.train.get_context()
    def observe(event):
        if isinstance(event, StepDone):
            (scratch / "first").write_text(str(time.time()))
    pretrain(job, observe, Topology(context.get_world_rank(), context.get_world_size()))
run = RunConfig(name="bare", storage_path=str(scratch / "ray"))
TorchTrainer(loop, scaling_config=ScalingConfig(num_workers=2), run_config=run).fit()
print((scratch / "first").read_text())
"""

PARTS = """
import json, sys, time
began = float(sys.argv[1])
marks = [("python and the command line", time.time())]
from flows import launch
from flows.cli import main
from infra import orchestrator

def marked(owner, name, label):
    inner = getattr(owner, name)
    def timed(*args, **options):
        result = inner(*args, **options)
        marks.append((label, time.time()))
        return result
    setattr(owner, name, timed)

marks.append(("imports of the command line", time.time()))
marked(launch, "plan_flow", "the plan (Prefect imported)")
marked(launch, "preflight", "checks before the start")
marked(orchestrator, "start_embedded", "server started")
marked(orchestrator, "reconcile", "server ready, dead runs reconciled")
import flows.cli.run as run
run.plan_flow = launch.plan_flow
try:
    main(sys.argv[2:])
finally:
    previous = began
    parts = {}
    for label, at in marks:
        parts[label] = round(at - previous, 2)
        previous = at
    print("PARTS " + json.dumps([parts, previous]), file=sys.stderr)
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.orchestration", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="paired rounds of the start")
    parser.add_argument("--ray-rounds", type=int, default=3, help="paired rounds of the start on two Ray workers")
    parser.add_argument("--steps", type=int, default=150, help="steps of the longer run")
    parser.add_argument("--long-rounds", type=int, default=3, help="paired rounds of the longer run")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        document = bench.measure(arguments.rounds, arguments.ray_rounds, arguments.steps, arguments.long_rounds)
    print(json.dumps(document, indent=2) if arguments.json else _text(document))


class Bench:
    """A home of its own with prepared data; every run differs in its seed, so that nothing is reused but the data."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        self.env = {**os.environ, "SLIPWAY_HOME": str(self.home)}
        self.seed = 1000
        prepared = json.loads(self._slipway("run", "prepare-data", "--recipe", "tiny", "--json"))
        key = next(stage["key"] for stage in prepared["stages"] if stage["stage"] == "prepare-data")
        record = json.loads((self.home / "store" / "stages" / f"{key}.json").read_text())
        self.tokens = record["outputs"]["tokens"]["prefix"]

    def measure(self, rounds: int, ray_rounds: int, steps: int, long_rounds: int) -> dict[str, Any]:
        cold, bare, parts = [], [], []
        for _ in range(rounds):
            bare.append(self.bare(1)[0])
            seconds, part = self.orchestrated_start()
            cold.append(seconds)
            parts.append(part)
        with self.services():
            warm = [self.orchestrated_start()[0] for _ in range(rounds)]
        on_ray = [(self.bare_on_ray(), self.orchestrated_start(workers=2)[0]) for _ in range(ray_rounds)]
        pairs = [(self.bare(steps)[1], self.orchestrated_run(steps)) for _ in range(long_rounds)]
        base = median(bare)
        return {
            "bare_start_seconds": bare,
            "overhead_cold_seconds": [round(seconds - base, 2) for seconds in cold],
            "overhead_with_up_seconds": [round(seconds - base, 2) for seconds in warm],
            "parts_cold": {name: median(part.get(name, 0.0) for part in parts) for name in parts[0]},
            "two_workers": {"plain_ray_seconds": [a for a, _ in on_ray], "orchestrated_seconds": [b for _, b in on_ray]},
            "long_run": {"steps": steps, "bare_seconds": [a for a, _ in pairs], "orchestrated_seconds": [b for _, b in pairs]},
            "long_run_ratio": [round(b / a, 4) for a, b in pairs],
        }

    def bare(self, steps: int) -> tuple[float, float]:
        """Seconds from exec to the end of the first step, and from there to the last."""
        began, output = self._bare(BARE, str(steps))
        first, last = json.loads(output)
        return first - began, last - first

    def bare_on_ray(self) -> float:
        """Seconds from exec to the end of the first step on two workers of a plain Ray."""
        began, output = self._bare(BARE_RAY)
        return float(output.splitlines()[-1]) - began

    def _bare(self, script: str, *words: str) -> tuple[float, str]:
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            (Path(scratch) / "store").symlink_to(self.home / "store")
            command = [sys.executable, "-c", script, str(self.home / "store"), self.tokens, scratch, *words]
            began = time.time()
            output = subprocess.run(command, env=self.env, check=True, capture_output=True, text=True).stdout
        for left in (self.home / "store" / "runs" / "pretrain-bare-1" / "checkpoints").glob("*/*"):
            left.unlink()
        return began, output

    def orchestrated_start(self, *, workers: int = 0) -> tuple[float, dict[str, float]]:
        """Seconds from exec to the end of the first step, and the parts of it."""
        began = time.time()
        command = [sys.executable, "-c", PARTS, str(began), *self._pretrain(1, workers)]
        finished = subprocess.run(command, env=self.env, check=True, capture_output=True, text=True)
        parts, last = json.loads(
            next(line for line in finished.stderr.splitlines() if line.startswith("PARTS ")).removeprefix("PARTS ")
        )
        first = self._step_times()[0]
        return first - began, {**parts, "torch, the model, the first step": round(first - last, 2)}

    def orchestrated_run(self, steps: int) -> float:
        """Seconds from the end of the first step to that of the last."""
        self._slipway(*self._pretrain(steps))
        times = self._step_times()
        return times[-1] - times[0]

    @contextmanager
    def services(self) -> Iterator[None]:
        self._slipway("up")
        try:
            yield
        finally:
            self._slipway("down")

    def _pretrain(self, steps: int, workers: int = 0) -> list[str]:
        self.seed += 1
        settings = {
            "steps": steps,
            "batch_size": 8,
            "sequence_length": 256,
            "seed": self.seed,
            "validate_every": 0,
            "checkpoint_every": 0,
            "workers": workers,
        }
        return [
            "run",
            "pretrain",
            "--recipe",
            "tiny",
            "--json",
            *(f"--set=training.{key}={value}" for key, value in settings.items()),
        ]

    def _slipway(self, *words: str) -> str:
        command = [sys.executable, "-c", "from flows.cli import main; main()", *words]
        return subprocess.run(command, env=self.env, check=True, capture_output=True, text=True).stdout

    def _step_times(self) -> list[float]:
        """When each step of the newest run ended, from its spool."""
        newest = max((self.home / "spool").glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
        records = [json.loads(line) for line in newest.read_text().splitlines()]
        return [record["time"] for record in records if record["kind"] == "metrics" and "loss" in record["values"]]


def _text(document: dict[str, Any]) -> str:
    def spread(values: list[float]) -> str:
        return f"{median(values):6.2f}  [{min(values):.2f}, {max(values):.2f}]  n={len(values)}"

    long, ray = document["long_run"], document["two_workers"]
    return "\n".join(
        [
            f"bare loop, exec to first step, s        {spread(document['bare_start_seconds'])}",
            f"overhead of a flow, cold, s             {spread(document['overhead_cold_seconds'])}",
            f"overhead of a flow, with `up`, s        {spread(document['overhead_with_up_seconds'])}",
            "parts of a cold start, s:",
            *(f"  {name:<38}{seconds:6.2f}" for name, seconds in document["parts_cold"].items()),
            f"plain Ray, two workers, to first step, s{spread(ray['plain_ray_seconds'])}",
            f"a flow on two workers, to first step, s {spread(ray['orchestrated_seconds'])}",
            f"{long['steps']} steps, orchestrated / bare          {spread(document['long_run_ratio'])}",
        ]
    )


if __name__ == "__main__":
    main()
