"""One walk through a flow: as a plan, which starts nothing, or for real. A flow calls `run` for each stage either way."""

import importlib
import resource
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

from flows.pipeline import code, records
from flows.pipeline.records import Record
from flows.pipeline.stage import Input, Job, Outcome, Pending, Reference, Stage, run_id
from infra.settings import Settings
from infra.store import open_store
from infra.store.errors import AwaitingReviewError, InputError, RefusedError, SlipwayError
from infra.store.lease import Lease, generation, lease
from infra.store.manifest import load
from infra.store.protocol import Store
from llm.events import Event, Observer, ignore

Work = Callable[[Job, Any], Outcome]
SESSION: ContextVar["Session"] = ContextVar("slipway session")


@dataclass(frozen=True)
class Walked:
    """A stage after `run`: reused, done now, or, in a plan, to be done; `why` says it in words.

    A stage that decides may also have said no, or wait for a person: there is no record then, and the flow ends with `error`.
    """

    stage: Stage
    state: Literal["reused", "done", "would run", "awaiting review", "refused"]
    why: tuple[str, ...]
    record: Record | None = None
    error: SlipwayError | None = None

    def __getitem__(self, output: str) -> Input:
        """An output, to be another stage's input."""
        return self.record.outputs[output] if self.record else Pending(self.stage.name)

    @property
    def result(self) -> Mapping[str, Any]:
        return self.record.result if self.record else {}


@dataclass
class Session:
    """The machine's side of a walk, and what came of it so far."""

    settings: Settings
    store: Store
    planning: bool = False
    force: frozenset[str] = frozenset()
    strict: bool = False
    wait: float = 0.0
    watch: Callable[[Stage, str], AbstractContextManager[Observer]] = lambda stage, run: nullcontext(ignore)
    note: Callable[[str], None] = lambda message: None  # hears what a person should know before it starts
    walked: list[Walked] = field(default_factory=list)

    @classmethod
    def open(cls, settings: Settings, **options: Any) -> "Session":
        return cls(settings, open_store(settings.store), **options)

    def check_forced(self) -> None:
        """After a walk: a stage that was to be forced and is none of them is a mistake of the user's."""
        names = [walked.stage.name for walked in self.walked]
        if unknown := sorted(self.force - set(names)):
            raise InputError(f"no stage {unknown[0]!r} in this flow", where="--force", mend=f"Its stages are {', '.join(names)}.")


def current() -> Session:
    """The session in force; a flow that was started by Prefect itself opens its own from the environment."""
    session = SESSION.get(None)
    if session is None:
        session = Session.open(Settings.load())
        SESSION.set(session)
    return session


def walk(stage: Stage) -> Walked:
    """Reuses the stage's recorded result, or does its work; in a plan, says which of the two it would be."""
    session = current()
    walked = look(session, stage)
    if walked.state != "reused" and not session.planning:
        walked = _decided(session, stage) if stage.decides else _work(session, stage)
    session.walked.append(walked)
    return walked


def verdict(walked: Sequence[Walked]) -> SlipwayError | None:
    """What a flow whose stages went on ends with: a no before a wait, None when neither was said; several in one error."""
    errors = [each.error for each in walked if each.error is not None]
    for kind in (RefusedError, AwaitingReviewError):
        if found := [error for error in errors if isinstance(error, kind)]:
            if len(found) == 1:
                return found[0]
            lines = [f"{len(found)} models:", *(f"{error.where}: {error.what}" for error in found)]
            return type(found[0])("\n  - ".join(lines), mend="\n".join(dict.fromkeys(error.mend for error in found)))
    return None


def look(session: Session, stage: Stage) -> Walked:
    """Whether the stage's result is there, and if not why not, field by field. Changes nothing."""
    if stage.waits_for:
        return Walked(stage, "would run", tuple(f"after {name}" for name in stage.waits_for))
    record = records.find(session.store, stage.key())
    if stage.name in session.force:
        return Walked(stage, "would run", ("forced",))
    if record is None:
        return _to_do(stage, _drift(session.store, stage))
    if gone := record.missing_output(session.store) or stage.gone(record.result):
        return _to_do(stage, (f"its output {gone} is gone",))
    if record.code["digest"] == code.digest(stage.work):
        return Walked(stage, "reused", ("same settings, same inputs",), record)
    if session.strict:
        raise RefusedError(
            "its code changed since it ran, and --strict refuses a stale result",
            where=stage.name,
            mend=f"Run it again with --force {stage.name}.",
        )
    return Walked(
        stage, "reused", (f"same settings, same inputs; its code changed since (--force {stage.name} runs it again)",), record
    )


def preflight(session: Session, plan: Sequence[Walked]) -> None:
    """Looks, before anything is started or written, at all that the stages to run would stumble over."""
    session.store.check_writable()
    session.settings.check_home()
    for walked in plan:
        if walked.state != "reused":
            walked.stage.needs(session.settings)
            for given in walked.stage.inputs.values():
                if isinstance(given, Reference):
                    load(session.store, given.prefix).check()
            if not walked.stage.waits_for:
                runs = _runs(session, walked.stage, generation(session.store, _lease_name(walked.stage)))
                for message in walked.stage.preflight(session.store, runs):
                    session.note(message)


def _to_do(stage: Stage, why: tuple[str, ...]) -> Walked:
    awaited = stage.awaits()
    return Walked(stage, "awaiting review", (awaited,)) if awaited else Walked(stage, "would run", why)


def _decided(session: Session, stage: Stage) -> Walked:
    try:
        return _work(session, stage)
    except AwaitingReviewError as error:
        return Walked(stage, "awaiting review", (error.what,), error=error)
    except RefusedError as error:
        return Walked(stage, "refused", (error.what,), error=error)


def _work(session: Session, stage: Stage) -> Walked:
    store, key = session.store, stage.key()
    uses = [given.prefix for given in stage.inputs.values() if isinstance(given, Reference)]
    with lease(store, _lease_name(stage), ttl=session.settings.lease_seconds, wait=session.wait, uses=uses) as held:
        now = look(session, stage)
        if now.state == "reused":  # somebody else finished it while we waited
            return now
        run = run_id(stage.name, key, held.generation)
        started, clock, cpu = datetime.now(UTC), time.perf_counter(), _cpu_seconds()
        with session.watch(stage, run) as observe, _scratch(session, run) as scratch:
            job = Job(
                store=store,
                settings=session.settings,
                key=key,
                attempt=held.generation,
                run=run,
                earlier_runs=_runs(session, stage, held.generation - 1),
                inputs={name: load(store, given.prefix) for name, given in stage.inputs.items() if isinstance(given, Reference)},
                scratch=scratch,
                observe=_unless_lost(held, observe),
                still_ours=held.check,
            )
            outcome = _function(stage.work)(job, stage.settings)
            held.check()
            record = Record(
                stage=stage.name,
                key=key,
                run=run,
                attempt=held.generation,
                identity=stage.identity(),
                outputs={name: Reference(thing.prefix, thing.version) for name, thing in outcome.outputs.items()},
                result=dict(outcome.result),
                numerics=dict(outcome.numerics),
                code=code.describe(stage.work),
                host=socket.gethostname(),
                started=started.isoformat(),
                seconds=round(time.perf_counter() - clock, 3),
                cpu_seconds=round(_cpu_seconds() - cpu, 3),
            )
            records.write(store, record)
    return Walked(stage, "done", now.why, record)


def _unless_lost(held: Lease, observe: Observer) -> Observer:
    """Ends work that somebody else has taken over, at its next step and not after its last."""

    def told(event: Event) -> None:
        held.check_not_lost()
        observe(event)

    return told


def _drift(store: Store, stage: Stage) -> tuple[str, ...]:
    """What differs from the nearest earlier result of this stage."""
    new = stage.identity()
    found = [tuple(records.differences(record.identity, new)) for record in records.of_stage(store, stage.name)]
    return min(found, key=lambda lines: (len(lines), lines)) if found else ("never ran here",)


def _lease_name(stage: Stage) -> str:
    return f"{stage.name}-{stage.key()[:12]}"


def _runs(session: Session, stage: Stage, attempts: int) -> tuple[str, ...]:
    """The runs whose checkpoints may be gone on with: none when the stage is to start over."""
    if stage.name in session.force:
        return ()
    return tuple(run_id(stage.name, stage.key(), attempt) for attempt in range(1, attempts + 1))


@contextmanager
def _scratch(session: Session, run: str) -> Iterator[Path]:
    """An empty folder for one attempt; those that killed attempts of the same stage left are taken away with it."""
    parent, stem = session.settings.scratch, run.rpartition("-")[0]
    for left in parent.glob(f"{stem}-*"):
        shutil.rmtree(left, ignore_errors=True)
    folder = parent / run
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _function(work: str) -> Work:
    module, _, name = work.partition(":")
    return cast("Work", getattr(importlib.import_module(module), name))


def _cpu_seconds() -> float:
    usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
