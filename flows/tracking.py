"""What MLflow hears of a training, by way of the spool."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, get_args

from flows.pipeline.stage import Stage
from infra.settings import Settings
from infra.store import open_store
from infra.store.fingerprint import identity
from infra.store.manifest import load
from infra.tracking.ship import start_shipper
from infra.tracking.spool import Spool, pending
from llm.events import Event, Measure, Observer, Resumed, StepDone, Validated

TRACKED = ("pretrain", "finetune-classify", "finetune-instruct")  # stages with a curve to look at; each is an MLflow experiment
_AT_STEPS: Final = ("loss", "learning_rate", "gradient_norm", "tokens_per_second", "data_wait_share", "tokens_seen")
_AT_VALIDATIONS: Final = ("validation_loss", *(f"validation_{measure}" for measure in get_args(Measure)))


@contextmanager
def tracked(settings: Settings, stage: Stage, run: str) -> Iterator[Observer]:
    """Writes a run's metrics to the spool, from which another process ships them: training never waits for MLflow."""
    spool = Spool(settings.spool, run)
    spool.open(stage.name, tags={"slipway.key": stage.key()}, params=dict(_flat(identity(stage.settings))))
    for waiting in pending(settings.spool):
        start_shipper(waiting, settings.tracking_uri, settings.store)
    try:
        yield Curve(spool, settings.store)
    except KeyboardInterrupt:
        spool.close("KILLED")
        raise
    except BaseException:
        spool.close("FAILED")
        raise
    spool.close()


class Curve:
    """An observer that spools each step of a run once, whatever was interrupted: the whole curve of a resumed run is there."""

    def __init__(self, spool: Spool, store_url: str) -> None:
        self._spool, self._store_url = spool, store_url
        self._told = 0  # the last step that the spool knows
        self._planned = False  # whether the spool knows how many there are to be

    def __call__(self, event: Event) -> None:
        match event:
            case StepDone() if event.step > self._told:
                if not self._planned:
                    self._spool.tags({"slipway.steps": str(event.steps)})
                    self._planned = True
                self._spool.metrics(event.step, {name: getattr(event, name) for name in _AT_STEPS})
                self._told = event.step
            case Validated() if event.step >= self._told:
                self._spool.metrics(event.step, {"validation_loss": event.loss, f"validation_{event.measure}": event.value})
            case Resumed():
                self._spool.tags({"slipway.resumed_from": event.name})
                self._catch_up(event)

    def _catch_up(self, resumed: Resumed) -> None:
        """Steps of an earlier attempt, or that a killed worker took with it: the checkpoint has them."""
        from llm.training.history import History  # pyarrow, which a training has loaded by then

        for row in History.of(load(open_store(self._store_url), resumed.name)).rows[self._told :]:
            known = {name: row[name] for name in (*_AT_STEPS, *_AT_VALIDATIONS) if row.get(name) is not None}
            self._spool.metrics(row["step"], known)
        self._told = max(self._told, resumed.step)


def _flat(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(inner, f"{where}.{name}" if where else name)
    else:
        yield where, str(value)
