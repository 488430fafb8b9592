"""What says that it runs, and whose process is certainly dead: in Prefect, in MLflow, and the leases in the store.

The process is looked at first, and what it left is changed after: nothing of a process that lives, or that cannot be known to be
dead, is touched. One on another machine cannot be seen: it is taken for dead when it has not renewed its lease for minutes, and
does not do so either while we watch, with a store that answers. Two who do this at once do no harm: each change is made once.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from filelock import Timeout

from flows.tracking import TRACKED
from infra import flow_runs
from infra.settings import Settings
from infra.store import open_store
from infra.store.leases import Held, holders, release, unreleased
from infra.store.liveness import is_alive
from infra.store.protocol import Store
from infra.tracking.runs import end_run
from infra.tracking.ship import start_shipper
from infra.tracking.spool import followed, pending, writer_is_gone

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

SILENCE: Final = 300.0
"""Seconds for which a lease must have run out before its holder on another machine is taken for dead."""
_EVERY: Final = 60.0


@dataclass(frozen=True)
class Dead:
    """Something that a dead process left, and what becomes of it. end: does that; False when somebody else was first."""

    what: str
    fate: str
    why: str
    end: Callable[[], bool] = field(repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.what}: {self.fate}; {self.why}"


def look(
    settings: Settings, store: Store, client: "SyncPrefectClient | None", *, silence: float = SILENCE, watch: bool = True
) -> Iterator[Dead]:
    """What the dead left; each is to be ended before the next is asked for, or none at all. Leases come last.

    client: of the Prefect server; None leaves its runs out. watch: whether the silent are given the time of a lease to speak.
    """
    held, former = holders(store)
    silent = [each for each in held if is_silent(each, silence)]
    if silent and watch:
        time.sleep(settings.lease_seconds)
        now = {(each.name, each.version) for each in unreleased(store)}
        silent = [each for each in silent if (each.name, each.version) in now]
    if client is not None:
        lost = [each for each in former if is_silent(each, silence)]  # watching tells nothing: others renew their lease now
        yield from _flow_runs(settings, client, [each for each in (*silent, *lost) if _all_silent(each, held, silent)])
    yield from _spools(settings)
    for each in held:
        if each in silent:
            yield Dead(f"lease {each.name}", "released", _unheard(each), _ends_silent(settings, store, each))
        elif each.holder.is_dead():
            yield Dead(f"lease {each.name}", "released", f"{each.holder.owner} is gone", _releases(store, each))


def is_silent(held: Held, silence: float) -> bool:
    """Whether the holder, which cannot be seen from here, has not renewed its lease for so long."""
    owner = held.holder.owner
    known = held.holder.is_dead() or (owner.is_here() and is_alive(owner.process))
    return not known and held.expires + silence < time.time()


def keep(settings: Settings, *, every: float = _EVERY, ended: threading.Event | None = None) -> None:
    """Does it again and again, and says what it did on standard error; what is in its way too, once."""
    ended, trouble = ended or threading.Event(), ""
    while True:
        try:
            once(settings)
            trouble = ""
        except Exception as error:  # a server or a store that is away: the next pass may find it
            if str(error) != trouble:
                trouble = str(error)
                _say(f"reconcile: {trouble}")
        if ended.wait(every):
            return


def once(settings: Settings) -> None:
    """One pass, with the Prefect server in force where there is one."""
    store = open_store(settings.store)
    if settings.prefect_api_url is None:
        _end(look(settings, store, None))
        return
    with flow_runs.server() as client:
        _end(look(settings, store, client))


def _end(found: Iterator[Dead]) -> None:
    for dead in found:
        if dead.end():
            _say(f"reconcile: {dead}")


def _say(line: str) -> None:
    sys.stderr.write(" ".join(line.split()) + "\n")
    sys.stderr.flush()


def _flow_runs(settings: Settings, client: "SyncPrefectClient", silent: Sequence[Held]) -> Iterator[Dead]:
    def named(run: "FlowRun") -> str:
        return f"flow run {run.name} of {client.read_flow(run.flow_id).name}"

    def ends(run: "FlowRun", why: str = "", lease: Held | None = None) -> Callable[[], bool]:
        def end() -> bool:
            ended = flow_runs.mark_ended(client, run, why)
            if lease is not None:
                _end_tracking(settings, lease)
            return ended

        return end

    gone = flow_runs.gone(client)
    for run in gone:
        fate = "Cancelled" if run.state_type == "CANCELLING" else "Crashed"
        yield Dead(named(run), fate, "its process ended without a word", ends(run))
    known = {run.id for run in gone}
    for run in flow_runs.at_work(client) if silent else ():
        lease = next((each for each in silent if flow_runs.carried_by(run.tags, each.holder.owner)), None)
        if lease is not None and run.id not in known:
            why = _unheard(lease)
            yield Dead(named(run), "Crashed", why, ends(run, f"{why[0].upper()}{why[1:]}, and is taken for dead.", lease))


def _spools(settings: Settings) -> Iterator[Dead]:
    """What was spooled by a process that is gone, and that nobody ships: the shipper ends the run in MLflow as well."""

    def ships(spool: Path) -> Callable[[], bool]:
        return lambda: start_shipper(spool, settings.tracking_uri, settings.store) is not None

    for spool in pending(settings.spool):
        if writer_is_gone(spool) and not _is_followed(spool):
            why = "its process is gone; what it left is shipped first"
            yield Dead(f"MLflow run {spool.stem}", "KILLED, unless it had ended", why, ships(spool))


def _is_followed(spool: Path) -> bool:
    try:
        with followed(spool).acquire(blocking=False):
            return False
    except Timeout:
        return True


def _all_silent(lease: Held, held: Sequence[Held], silent: Sequence[Held]) -> bool:
    return all(each in silent for each in held if each.holder.owner == lease.holder.owner)


def _unheard(lease: Held) -> str:
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(lease.expires))
    return f"{lease.holder.owner} let its lease on {lease.name} run out at {when}"


def _releases(store: Store, lease: Held) -> Callable[[], bool]:
    return lambda: release(store, lease)


def _ends_silent(settings: Settings, store: Store, lease: Held) -> Callable[[], bool]:
    """The lease is released last, so that all of it is done once."""

    def end() -> bool:
        _end_tracking(settings, lease)
        return release(store, lease)

    return end


def _end_tracking(settings: Settings, lease: Held) -> None:
    """The MLflow run of a lost machine, whose spool is lost too, is ended from here."""
    stage = lease.name.rpartition("-")[0]
    if stage in TRACKED:
        end_run(settings.tracking_uri, f"{lease.name}-{lease.generation}", experiment=stage)
