"""What MLflow hears of a training, by way of the spool."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Final, get_args

from flows.pipeline.stage import Stage
from flows.restarts import restart_line, rollback_line
from flows.samples import TABLE_TAG
from flows.spending import spent_line
from infra.settings import Settings
from infra.store import open_store
from infra.store.fingerprint import identity
from infra.store.manifest import load
from infra.tracking.ship import start_shipper
from infra.tracking.spool import Spool, pending
from infra.tracking.system import Sampler
from llm.events import Event, Measure, Observer, Restarted, Resumed, RolledBack, Sampled, Skipped, Spent, StepDone, Validated
from llm.training.stopping import StoppedError

TRACKED = ("pretrain", "finetune-classify", "finetune-instruct")  # stages with a curve to look at; each is an MLflow experiment
_POINTS: Final = 1_000  # of a curve: more than its picture in MLflow has columns for
_AT_STEPS: Final = ("loss", "learning_rate", "gradient_norm", "tokens_per_second", "data_wait_share", "mfu", "memory_bytes")
_AT_VALIDATIONS: Final = ("validation_loss", *(f"validation_{measure}" for measure in get_args(Measure)))
_NOTE: Final = "mlflow.note.content"  # the description on top of a run's page


@contextmanager
def tracked(settings: Settings, stage: Stage, run: str) -> Iterator[Observer]:
    """Writes a run's metrics to the spool, from which another process ships them: training never waits for MLflow."""
    spool = Spool(settings.spool, run)
    spool.open(stage.name, tags={"slipway.key": stage.key()}, params=dict(_flat(identity(stage.settings))))
    for waiting in pending(settings.spool):
        start_shipper(waiting, settings.tracking_uri, settings.store)
    try:
        with Sampler(spool):
            curve = Curve(spool, settings.store)
            yield curve
    except (KeyboardInterrupt, StoppedError):
        spool.close("KILLED")
        raise
    except BaseException:
        spool.close("FAILED")
        raise
    if curve.sampled:
        spool.tags(TABLE_TAG)  # the file is there once the work is done
    spool.close()


class Curve:
    """An observer that spools each step of a run once, whatever was interrupted: the whole curve of a resumed run is there.

    MLflow gets about 1,000 steps of a long run, the first and the last among them, and every validation; `metrics.parquet` has
    all. Where training went back and left data out, the steps after that are told again: the later values are those that count.
    """

    def __init__(self, spool: Spool, store_url: str) -> None:
        self._spool, self._store_url = spool, store_url
        self._told = 0  # the last step that the spool knows
        self._steps = 0  # of the whole run, once a step has said it
        self._skipped: set[int] = set()
        self._notes: list[str] = []
        self._restarts = self._rollbacks = 0
        self.sampled = False

    def __call__(self, event: Event) -> None:
        match event:
            case StepDone():
                self._step(event)
            case Validated() if event.step >= self._told:
                self._spool.metrics(event.step, {"validation_loss": event.loss, f"validation_{event.measure}": event.value})
            case Sampled():
                self.sampled = True
                self._spool.keep("sampled", sample=asdict(event))
            case Resumed():
                self._spool.tags({"slipway.resumed_from": event.name})
                self._catch_up(event)
            case Restarted():
                self._restarts += 1
                self._spool.keep("restarted", restart=asdict(event))
                self._note(restart_line(event), {"slipway.restarts": str(self._restarts)})
            case Skipped():
                self._skip(event.step)
            case RolledBack():
                self._told = min(self._told, event.step)
                self._go_back(event)
            case Spent():
                self._spend(event)

    def _step(self, done: StepDone) -> None:
        made = {"tokens": done.tokens, "seconds": done.seconds, "workers": done.workers}
        if done.step <= self._told:
            self._spool.keep("step", step=done.step, made=made)
            return
        if not self._steps:
            self._spool.tags({"slipway.steps": str(done.steps)})
        self._steps, self._told = done.steps, done.step
        values = _known({name: getattr(done, name) for name in (*_AT_STEPS, "tokens_seen")})
        self._spool.metrics(done.step, values, shown=self._shown(done.step), made=made)

    def _catch_up(self, resumed: Resumed) -> None:
        """Steps of an earlier attempt, or that a killed worker took with it: the checkpoint has them."""
        from llm.training.history import History  # pyarrow, which a training has loaded by then

        history = History.of(load(open_store(self._store_url), resumed.name))
        for back in history.rollbacks[self._rollbacks :]:
            self._go_back(RolledBack(**back))
        rows = history.rows
        seen = sum(row["tokens"] for row in rows[: self._told])
        for row in rows[self._told :]:
            seen += row["tokens"]
            if self._shown(row["step"], last=len(rows)):
                self._spool.metrics(row["step"], _known({name: row.get(name) for name in _AT_STEPS}) | {"tokens_seen": seen})
            if looked := _known({name: row.get(name) for name in _AT_VALIDATIONS}):
                self._spool.metrics(row["step"], looked)
            if row.get("skipped"):
                self._skip(row["step"])
        self._told = max(self._told, resumed.step)

    def _shown(self, step: int, last: int = 0) -> bool:
        """Whether the step is among those that are drawn. last: the number of steps, where the run has not said it yet."""
        steps = self._steps or last
        return step in (1, steps) or step % math.ceil(steps / _POINTS) == 0

    def _skip(self, step: int) -> None:
        if step not in self._skipped:
            self._skipped.add(step)
            self._spool.metrics(step, {"skipped_steps": len(self._skipped)})
            self._spool.tags({"slipway.skipped_steps": str(len(self._skipped))})

    def _go_back(self, back: RolledBack) -> None:
        self._rollbacks += 1
        self._note(rollback_line(back), {"slipway.rollbacks": str(self._rollbacks)})

    def _note(self, line: str, tags: dict[str, str]) -> None:
        self._notes.append(f"- {line}")
        self._spool.tags({**tags, _NOTE: "\n".join(self._notes)})

    def _spend(self, spent: Spent) -> None:
        unit = "gpu_seconds" if spent.device == "cuda" else "cpu_worker_seconds"
        values = {unit: spent.worker_seconds, f"failed_{unit}": spent.failed_worker_seconds, "cost_usd": spent.money}
        self._spool.metrics(self._told, _known(values))
        self._note(spent_line(spent), {})


def _known(values: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}


def _flat(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(inner, f"{where}.{name}" if where else name)
    else:
        yield where, str(value)
