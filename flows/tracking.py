"""What MLflow hears of a training, by way of the spool."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flows.pipeline.stage import Stage
from infra.settings import Settings
from infra.store.fingerprint import identity
from infra.tracking.ship import start_shipper
from infra.tracking.spool import Spool, pending
from llm.events import Event, Observer, Resumed, StepDone, Validated

TRACKED = ("pretrain",)  # stages with a curve to look at; each is an MLflow experiment


@contextmanager
def tracked(settings: Settings, stage: Stage, run: str) -> Iterator[Observer]:
    """Writes a run's metrics to the spool, from which another process ships them: training never waits for MLflow."""
    spool = Spool(settings.spool, run)
    spool.open(stage.name, tags={"slipway.key": stage.key()}, params=dict(_flat(identity(stage.settings))))
    for waiting in pending(settings.spool):
        start_shipper(waiting, settings.tracking_uri, settings.store)

    def observe(event: Event) -> None:
        match event:
            case StepDone():
                spool.metrics(
                    event.step,
                    {
                        "loss": event.loss,
                        "learning_rate": event.learning_rate,
                        "gradient_norm": event.gradient_norm,
                        "tokens_per_second": event.tokens_per_second,
                    },
                )
            case Validated():
                spool.metrics(event.step, {"validation_loss": event.loss, "validation_bits_per_byte": event.bits_per_byte})
            case Resumed():
                spool.tags({"slipway.resumed_from": event.name})

    try:
        yield observe
    except KeyboardInterrupt:
        spool.close("KILLED")
        raise
    except BaseException:
        spool.close("FAILED")
        raise
    spool.close()


def _flat(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(inner, f"{where}.{name}" if where else name)
    else:
        yield where, str(value)
