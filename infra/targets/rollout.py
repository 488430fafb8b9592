"""How a version gets onto a target: beside the old one, checked, switched to, and only then instead of it.

Every step is written down before it is taken: whoever comes after a kill knows how far it went.
"""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from infra.ledger import Ledger
from infra.processes import answers
from infra.settings import Settings
from infra.store import open_store
from infra.store.errors import DamagedError, SlipwayError
from infra.store.lease import Lease
from infra.store.liveness import is_alive
from infra.store.manifest import find
from infra.targets import haproxy, record
from infra.targets.errors import TargetError
from infra.targets.haproxy import SLOTS, Runtime, wait_until_idle
from infra.targets.naming import checked
from infra.targets.processes import Processes, next_free_port
from infra.targets.record import Phase, Record, Release, Rollout, Server
from infra.targets.server import Command, check_golden, check_version, serving, wait_until_ready

_KEPT: Final = 20  # versions that a target remembers to go back to


@dataclass(frozen=True)
class Limits:
    """start_seconds: for a new server to come up and give its golden answers. drain_seconds: for an old one to end its requests."""

    start_seconds: float = 300.0
    drain_seconds: int = 600


@dataclass(frozen=True)
class Rolled:
    """What came of a change. seconds: by part, and `total`; cut: requests that the drain's limit broke off."""

    target: str
    url: str
    action: str
    release: Release
    previous: Release | None
    changed: bool
    seconds: Mapping[str, float]
    cut: int = 0

    def document(self) -> dict[str, Any]:
        return {
            "target": self.target,
            "url": self.url,
            "action": self.action,
            **self.release.brief(),
            "previous": self.previous.brief() if self.previous else None,
            "changed": self.changed,
            "seconds": dict(self.seconds),
            "cut": self.cut,
        }


class Rollouts:
    """The steps of a change. Whoever takes them holds the target's lease."""

    def __init__(
        self,
        settings: Settings,
        name: str = "local",
        *,
        limits: Limits | None = None,
        command: Command = serving,
        observe: Callable[[str], None] = lambda step: None,
    ) -> None:
        self.settings, self.name, self.limits, self.observe = settings, checked(name), limits or Limits(), observe
        self.folder = settings.home / "targets" / name
        self.processes = Processes(settings.home, self.folder, command)
        self.runtime = Runtime(self.folder)
        self._clock: dict[str, float] = {}

    def record(self) -> Record:
        """What is known of it; of a target that never was, nothing."""
        return record.read(self.folder) or Record(self.name)

    def _roll(self, known: Record, rollout: Rollout, held: Lease) -> Rolled:
        began, self._clock = time.monotonic(), {}
        previous = known.release
        try:
            with self._timed("check"):
                self.observe(f"checking package {rollout.release.package}")
                folder = check_package(rollout.release)
            known = self._ensure_proxy(known)
            known = self._save(replace(known, rollout=rollout, stopped=False))
            known = self._start(known, rollout, folder)
            held.check()
        except BaseException as error:
            self._take_back(known, rollout, error)
            raise
        known = self._phase(known, "switching")
        known, cut = self._finish(known)
        self._clock["total"] = time.monotonic() - began
        seconds = {name: round(spent, 3) for name, spent in self._clock.items()}
        self.processes.note(rollout.action, rollout=rollout.id, **rollout.release.brief(), seconds=seconds, cut=cut)
        return Rolled(self.name, str(known.url), rollout.action, rollout.release, previous, True, seconds, cut)

    def _start(self, known: Record, rollout: Rollout, folder: Path) -> Record:
        """The new server beside the old one, and all that it has to pass. folder: where its package lies on this machine."""
        release, deadline = rollout.release, time.monotonic() + self.limits.start_seconds
        with self._timed("start"):
            self.observe(f"starting {release.model} beside what serves now")
            port, process = self.processes.start_server(
                rollout.slot, replace(release, folder=str(folder)), self.limits.drain_seconds
            )
            known = self._save(known.with_server(rollout.slot, Server(rollout.id, port, process, rollout.started)))
            wait_until_ready(process, port, self.processes.log(rollout.slot), deadline)
            check_version(port, release)
        with self._timed("golden"):
            self.observe(f"asking for its golden answers ({len(release.golden)})")
            check_golden(port, release, deadline)
        return known

    def _take_back(self, known: Record, rollout: Rollout, error: BaseException) -> None:
        """The new server goes, the old one has served all the time."""
        self.processes.end(rollout.slot, grace=3.0)
        self._save(replace(known.with_server(rollout.slot, None), rollout=None))
        what = error.what if isinstance(error, SlipwayError) else type(error).__name__
        self.processes.note("failed", rollout=rollout.id, action=rollout.action, **rollout.release.brief(), what=what)

    def _finish(self, known: Record) -> tuple[Record, int]:
        """From a server that has passed to the end, from wherever it stands; returns the requests that were broken off, too."""
        rollout = known.rollout
        assert rollout is not None, "there is a change to finish"
        old = next((slot for slot in SLOTS if slot != rollout.slot), "")
        if rollout.phase == "switching":
            with self._timed("switch"):
                self.observe(f"switching {self.name} over to {rollout.release.model}")
                known = self._ensure_proxy(known)
                self._point(rollout.slot, known.servers[rollout.slot].port, old)
            known = self._save(self._switched(known, rollout))
        if known.rollout is not None and known.rollout.phase == "switched":
            self._enter(known, rollout)
            known = self._phase(known, "draining")
        with self._timed("drain"):
            self.observe("waiting for the requests that the old server still works on")
            cut = self._retire(known, old)
        return self._save(replace(known.with_server(old, None), rollout=None)), cut

    def _point(self, slot: str, port: int, old: str) -> None:
        """The new server gets requests, and only when it does, the old one gets no more."""
        self.runtime.tell(haproxy.point(slot, port))
        found = self.runtime.slots()[slot]
        if found.state != "ready" or found.port != port:
            raise TargetError(f"HAProxy did not take the new server ({found})", where=self.name, mend="Deploy again.")
        self.runtime.tell(haproxy.drain(old))

    def _retire(self, known: Record, slot: str) -> int:
        """Ends what is in a slot, after its last request."""
        if not self.processes.running(slot):
            self.runtime.tell(haproxy.retire(slot))
            return 0
        cut = wait_until_idle(self.runtime, slot, time.monotonic() + self.limits.drain_seconds)
        self.runtime.tell(haproxy.retire(slot))  # first, for it also closes the connections that were kept for later requests
        self.processes.end(slot, grace=1.0 if cut else 30.0)
        return cut

    def _switched(self, known: Record, rollout: Rollout) -> Record:
        package, releases, withdrawn = rollout.release.package, known.releases, set(known.withdrawn)
        if rollout.action == "deploy":
            releases, withdrawn = (*releases, rollout.release)[-_KEPT:], withdrawn - {package}
        elif rollout.action == "rollback":
            releases, withdrawn = releases[:-1], (withdrawn | {releases[-1].package}) - {package}
        return replace(
            known,
            active=rollout.slot,
            releases=releases,
            since=_now(),
            withdrawn=tuple(sorted(withdrawn)),
            rollout=replace(rollout, phase="switched"),
        )

    def _enter(self, known: Record, rollout: Rollout) -> None:
        """The change into the ledger, once: a command that died after it had written the entry is not written down again."""
        if rollout.action == "restart":
            return
        ledger = Ledger.of(self.settings)
        if rollout.facts.get("resumed"):
            try:
                if any(entry.facts.get("rollout") == rollout.id for entry in ledger.entries()):
                    return
            except DamagedError:  # what is damaged is an auditor's matter; this change goes on record all the same
                pass
        ledger.append(
            rollout.action,
            subject={"target": self.name, **rollout.release.brief()},
            who=rollout.who,
            why=rollout.why,
            facts={
                "rollout": rollout.id,
                "url": known.url,
                "previous": rollout.facts.get("previous"),
                "golden": len(rollout.release.golden),
            },
        )

    def _ensure_proxy(self, known: Record) -> Record:
        """HAProxy on the port that the target has had since its first deployment."""
        if known.proxy and is_alive(known.proxy):
            return known
        if known.port:
            self.observe(f"starting HAProxy on port {known.port}")
            return self._save(replace(known, proxy=self.processes.start_proxy(known)))
        taken = {other.port for folder in self.folder.parent.iterdir() if (other := record.read(folder))}
        while True:
            known = replace(known, port=next_free_port(taken))
            self.observe(f"starting HAProxy on port {known.port}")
            try:
                return self._save(replace(known, proxy=self.processes.start_proxy(known)))
            except TargetError:
                if not answers(known.port):
                    raise
                taken.add(known.port)  # somebody was faster

    def _rollout(self, action: Any, release: Release, known: Record, who: str, why: str) -> Rollout:
        slot = next(slot for slot in SLOTS if slot != known.active)
        facts = {"previous": known.release.brief() if known.release else None}
        return Rollout(uuid.uuid4().hex, action, release, slot, who, why, _now(), facts=facts)

    def _phase(self, known: Record, phase: Phase) -> Record:
        assert known.rollout is not None, "a phase is a change's"
        return self._save(replace(known, rollout=replace(known.rollout, phase=phase)))

    def _save(self, known: Record) -> Record:
        record.write(self.folder, known)
        return known

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._clock[part] = time.monotonic() - began


def check_package(release: Release) -> Path:
    """The local folder of the package, fetched where the store is in a bucket.

    Raises DamagedError unless it is this very package, every file as its manifest says.
    """
    store, _, name = release.folder.rpartition("/")
    package = find(open_store(store), name)
    if package is None or package.version != release.package:
        raise DamagedError(
            f"package {release.package} is not there any more"
            if package is None
            else f"another package is there: {package.version}",
            where=release.folder,
            mend="Put the folder back from a copy of the store, or deploy another version.",
        )
    return package.folder()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
