"""All the targets of a home: the truth about them, and what `slipway up` and `down` do with them."""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any, Literal

from infra.processes import resident
from infra.settings import Settings
from infra.store.errors import SlipwayError
from infra.store.liveness import is_alive
from infra.targets.haproxy import SLOTS
from infra.targets.local import Target, names
from infra.targets.processes import PROXY
from infra.targets.record import Record
from infra.targets.server import is_healthy, version

State = Literal["serving", "not answering", "dead", "stopped", "empty"]


@dataclass(frozen=True)
class TargetState:
    """One target as it is now. model and package: what is meant to serve; serves: the package that answers, by its own word.

    since: when it was switched to. memory: bytes resident of all its processes. unfinished: a change that was interrupted, or is
    under way.
    """

    name: str
    state: State
    url: str | None = None
    model: str | None = None
    package: str | None = None
    serves: str | None = None
    since: str | None = None
    memory: int | None = None
    why: str = ""
    unfinished: str = ""
    previous: str | None = None
    folder: str = ""
    last: dict[str, Any] | None = None

    def document(self) -> dict[str, Any]:
        return asdict(self)


def states(settings: Settings) -> list[TargetState]:
    """Every target of this home, as it is now."""
    return [state(Target(settings, name)) for name in names(settings.home)]


def state(target: Target) -> TargetState:
    known = target.record()
    word, why = _word(known)
    running = [process for part in (*SLOTS, PROXY) for process in target.processes.running(part)]
    release = known.release
    return TargetState(
        target.name,
        word,
        known.url,
        release.model if release else None,
        release.package if release else None,
        _serves(known),
        known.since or None,
        resident(running) or None,
        why,
        f"{known.rollout.action} of {known.rollout.release.model} ({known.rollout.phase})" if known.rollout else "",
        known.releases[-2].model if len(known.releases) > 1 else None,
        str(target.folder),
        target.processes.last_note(),
    )


def _word(known: Record) -> tuple[State, str]:
    if not known.releases:
        return "empty", ""
    if known.stopped:
        return "stopped", "`slipway up` brings it back"
    if known.proxy is None or not is_alive(known.proxy):
        return "dead", "its HAProxy is gone"
    if known.server is None or not is_alive(known.server.process):
        return "dead", "its server is gone"
    if not is_healthy(known.port):
        return "not answering", "its server does not say that it is well"
    return "serving", ""


def _serves(known: Record) -> str | None:
    package = version(known.port, seconds=2.0).get("package") if known.port and not known.stopped else None
    return str(package) if package else None


def stop_all(settings: Settings, *, but: Collection[str] = ()) -> list[str]:
    """Stops every target but these; what is deployed stays on record. Returns the names of those of which something ran."""
    return [name for name in names(settings.home) if name not in but and Target(settings, name).stop()]


def restore_all(settings: Settings) -> dict[str, SlipwayError | None]:
    """Brings back what is meant to serve on each target; of those where something was done, what went wrong, or None."""
    done: dict[str, SlipwayError | None] = {}
    for name in names(settings.home):
        target = Target(settings, name)
        if state(target).state not in ("serving", "empty"):
            try:
                target.restore()
                done[name] = None
            except SlipwayError as error:
                done[name] = error
    return done
