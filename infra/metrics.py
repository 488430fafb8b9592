"""What runs are doing, for Prometheus: `python -m infra.metrics`, a process of its own that reads the spools of the runs.

Training knows nothing of it, and nothing is pushed: each scrape reads what was appended to the spools since the last one. Runs
to which nothing was written for days are left out, so that the number of series stays small.
"""

import argparse
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from infra.processes import LOOPBACK
from infra.settings import Settings
from infra.store.errors import SlipwayError
from infra.tracking.spool import records, shipped, writer_is_gone

PORT: Final = 9400
_DAYS: Final = 2.0
_RUNS: Final = 100  # the newest; each has some 20 series
_RESUMED: Final = "slipway.resumed_from"  # the tag that a run gets whenever it goes on after a checkpoint
_STEPS: Final = "slipway.steps"  # the tag with the number of steps that a run is to have
_TOLD: Final = {  # tags that count something
    "slipway.restarts": ("slipway_training_restarts", "How often the run was at work again after something died."),
    "slipway.rollbacks": ("slipway_training_rollbacks", "How often the run went back and left data out."),
}
_LABELS: Final = ("run", "stage")
_TOKENS: Final = "tokens_seen"
_NAMED: Final = {
    "loss": ("slipway_training_loss", "Loss of the last step, in nats per target."),
    "learning_rate": ("slipway_training_learning_rate", "Learning rate of the last step."),
    "gradient_norm": ("slipway_training_gradient_norm", "Norm of the gradient at the last step, before it was clipped."),
    "tokens_per_second": ("slipway_training_tokens_per_second", "Tokens per second of the last step."),
    "data_wait_share": ("slipway_training_data_wait_ratio", "Share of the last step that was spent waiting for its batch."),
    "mfu": ("slipway_training_mfu_ratio", "Model FLOPs utilisation of the last step."),
    "memory_bytes": ("slipway_training_memory_bytes", "Peak memory so far: of torch on a GPU, else of the process."),
    "skipped_steps": ("slipway_training_skipped_steps", "Steps whose update was not made."),
    "cost_usd": ("slipway_training_cost_dollars", "What the run has cost, once it says so."),
    "validation_loss": ("slipway_training_validation_loss", "Loss on what is held out, in nats per target."),
    "validation_bits_per_byte": ("slipway_training_validation_bits_per_byte", "Bits per byte of the held-out text."),
    "validation_accuracy": (
        "slipway_training_validation_accuracy_ratio",
        "Share of the held-out texts classified right.",
    ),
}
_OTHERS: Final = ("slipway_training_value", "Any other value that the run tells, by its name in MLflow.")


@dataclass
class Followed:
    """One spool as far as it was read, and the newest that it says."""

    path: Path
    offset: int = 0
    stage: str = ""
    step: int = 0
    steps: int = 0
    values: dict[str, float] = field(default_factory=dict)
    resumes: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    opened: float = 0.0
    stepped: float = 0.0
    """Seconds since the epoch of the last step."""
    told: float = 0.0
    """Seconds since the epoch of the last record."""
    status: str = ""
    """How the run ended, in MLflow's words; "" while it is open."""

    def read(self) -> None:
        """Takes in what was appended since."""
        for record, end in records(self.path, self.offset):
            self.offset = end
            self._take(record)
        if not self.status and writer_is_gone(self.path):
            self.status = "KILLED"

    def _take(self, record: dict[str, Any]) -> None:
        self.told = record["time"]
        match record["kind"]:
            case "opened":
                self.stage, self.opened, self.status = record["experiment"], record["time"], ""
            case "metrics":
                self.values |= {name: value for name, value in record["values"].items() if isinstance(value, int | float)}
                if "loss" in record["values"]:
                    self.step, self.stepped = record["step"], record["time"]
            case "tags":
                self.resumes += _RESUMED in record["tags"]
                self.steps = int(record["tags"].get(_STEPS, self.steps))
                self.counts |= {tag: int(record["tags"][tag]) for tag in _TOLD.keys() & record["tags"].keys()}
            case "closed":
                self.status = record["status"]


class Spools(Collector):
    """Every run of a folder to which something was written within `days`, as Prometheus is to see it."""

    def __init__(self, folder: Path, days: float = _DAYS) -> None:
        self._folder, self._seconds = folder, days * 86_400
        self._known: dict[Path, Followed] = {}
        self._reading = threading.Lock()  # two scrapes at once

    def collect(self) -> Iterator[Metric]:
        with self._reading:
            runs = list(self._runs())
            yield from _training(runs, time.time())
            yield from _shipping(runs)

    def _runs(self) -> Iterator[Followed]:
        newest = sorted(self._lately(), reverse=True)[:_RUNS]
        self._known = {path: self._followed(path, size) for _, path, size in newest}
        for run in self._known.values():
            try:
                run.read()
            except (OSError, KeyError, TypeError, ValueError):  # removed meanwhile, or not written by us: the others count
                continue
            if run.stage:
                yield run

    def _followed(self, path: Path, size: int) -> Followed:
        """What is known of the spool; nothing where it became shorter, since it is another one then."""
        known = self._known.get(path)
        return known if known is not None and known.offset <= size else Followed(path)

    def _lately(self) -> Iterator[tuple[float, Path, int]]:
        """When it was last written to, path and bytes of each spool that is young enough."""
        oldest = time.time() - self._seconds
        for path in self._folder.glob("*.jsonl"):
            try:
                found = path.stat()
            except OSError:
                continue
            if found.st_mtime >= oldest:
                yield found.st_mtime, path, found.st_size


def _training(runs: list[Followed], now: float) -> Iterator[Metric]:
    for key, (name, said) in _NAMED.items():
        yield _gauge(name, said, ((run, run.values[key]) for run in runs if key in run.values))
    others = GaugeMetricFamily(*_OTHERS, labels=(*_LABELS, "value"))
    for run in runs:
        for key in sorted(run.values.keys() - _NAMED.keys() - {_TOKENS}):
            others.add_metric([run.path.stem, run.stage, key], run.values[key])
    yield others
    yield _gauge("slipway_training_step", "Optimizer steps made.", ((run, run.step) for run in runs))
    yield _gauge("slipway_training_steps", "Optimizer steps in all, where known.", ((run, run.steps) for run in runs if run.steps))
    yield _gauge("slipway_training_open", "1 while the run goes on, 0 when it ended.", ((run, not run.status) for run in runs))
    failed = ((run, run.status not in ("", "FINISHED")) for run in runs)
    yield _gauge("slipway_training_failed", "1 when the run ended otherwise than finished: failed, or killed.", failed)
    silent = ((run, max(0.0, now - max(run.stepped, run.opened))) for run in runs if not run.status)
    yield _gauge("slipway_training_step_age_seconds", "Seconds since the last step of an open run, or since it was opened.", silent)
    tokens = ((run, run.values[_TOKENS]) for run in runs if _TOKENS in run.values)
    yield _counter("slipway_training_tokens", "Tokens that the run has learned from.", tokens)
    resumes = ((run, run.resumes) for run in runs)
    yield _counter("slipway_training_resumes", "How often the run went on after a checkpoint.", resumes)
    for tag, (name, said) in _TOLD.items():
        yield _counter(name, said, ((run, run.counts.get(tag, 0)) for run in runs))


def _shipping(runs: list[Followed]) -> Iterator[Metric]:
    states = [(run, shipped(run.path)) for run in runs]
    waiting = [(run, state) for run, state in states if not state.complete and state.offset < run.offset]
    left = {run.path: run.offset - state.offset for run, state in waiting}
    late = {run.path: run.told - (state.last_time or run.opened) for run, state in waiting}
    bytes_left = ((run, left.get(run.path, 0)) for run in runs)
    yield _gauge("slipway_spool_unshipped_bytes", "Bytes of the run's spool that MLflow has not confirmed.", bytes_left)
    lag = ((run, max(0.0, late.get(run.path, 0.0))) for run in runs)
    yield _gauge("slipway_spool_lag_seconds", "Seconds from the newest record that MLflow has to the newest there is.", lag)
    refused = ((run, len(state.refused)) for run, state in states)
    yield _counter("slipway_spool_refusals", "What MLflow would not take of the run.", refused)


def _gauge(name: str, said: str, values: Iterable[tuple[Followed, float]]) -> Metric:
    return _filled(GaugeMetricFamily(name, said, labels=_LABELS), values)


def _counter(name: str, said: str, values: Iterable[tuple[Followed, float]]) -> Metric:
    return _filled(CounterMetricFamily(name, said, labels=_LABELS), values)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, values: Iterable[tuple[Followed, float]]) -> Metric:
    for run, value in values:
        family.add_metric([run.path.stem, run.stage], float(value))
    return family


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m infra.metrics", description="Export the runs' metrics to Prometheus.")
    parser.add_argument("--port", type=int, default=PORT, help=f"where to answer (default: {PORT})")
    parser.add_argument("--host", default=LOOPBACK, help=f"which address to listen on (default: {LOOPBACK}, this machine alone)")
    parser.add_argument("--days", type=float, default=_DAYS, help="leave out runs that were silent for so long (default: 2)")
    arguments = parser.parse_args()
    try:
        folder = Settings.load().spool
    except SlipwayError as error:
        parser.error(str(error))
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Spools(folder, arguments.days))
    try:
        _, serving = start_http_server(arguments.port, arguments.host, registry)
    except OSError as error:
        parser.error(f"cannot listen on {arguments.host}:{arguments.port}: {error.strerror}")
    serving.join()


if __name__ == "__main__":
    main()
