"""A target on this machine: what can be done to it, by one at a time, and how it heals when whoever did it was killed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from infra.store.errors import InputError, RefusedError
from infra.store.folder import FolderStore
from infra.store.lease import Lease, lease
from infra.store.liveness import is_alive
from infra.targets import haproxy, record
from infra.targets.errors import TargetError
from infra.targets.haproxy import SLOTS
from infra.targets.naming import is_target
from infra.targets.processes import PROXY
from infra.targets.record import Record, Release
from infra.targets.rollout import Rolled, Rollouts
from infra.targets.server import is_healthy, version

_PATIENCE: Final = 15.0  # seconds that a server at work may need for an answer before it is taken for stuck


class Target(Rollouts):
    """`local`, or `local-NAME`. Making one touches nothing. observe: told each step in words.

    Of those who would change a target at once, one does; the others wait `wait` seconds, then get LeaseHeldError.
    """

    def serves(self) -> str | None:
        """The version of the package that answers on the target's port now, by its own word."""
        port = self.record().port
        package = version(port).get("package") if port else None
        return str(package) if package else None

    def deploy(self, release: Release, *, who: str, why: str, wait: float = 0.0, again: bool = False) -> Rolled:
        """Makes this version serve, or brings it back where it is meant to serve already; the old one serves until it does.

        again: also where a rollback took this package away. Raises RefusedError where not, DamagedError for a damaged package,
        RolloutError or GoldenError when the new server does not come up as it should.
        """
        with self._alone(wait) as held:
            known = self._heal()
            if release.same(known.release):
                known = self._save(replace(known, releases=(*known.releases[:-1], release)))  # it may have been measured anew
                return self._bring_back(known, held)
            if release.package in known.withdrawn and not again:
                raise RefusedError(
                    f"this version was taken off {self.name} by a rollback",
                    where=release.model,
                    mend=f"`slipway deploy {release.model} --to {self.name}` puts it back on purpose.",
                )
            return self._roll(known, self._rollout("deploy", release, known, who, why), held)

    def rollback(self, *, who: str, why: str, wait: float = 0.0) -> Rolled:
        """Back to the version before. Raises InputError when there is none."""
        with self._alone(wait) as held:
            known = self._heal()
            return self._roll(known, self._rollout("rollback", self.previous(known), known, who, why), held)

    def previous(self, known: Record) -> Release:
        if len(known.releases) < 2:
            what = (
                "nothing was deployed here yet" if not known.releases else f"{known.releases[-1].model} is the first version here"
            )
            raise InputError(
                f"nothing to roll back to: {what}", where=self.name, mend="`slipway deploy MODEL --to TARGET` puts a version on it."
            )
        return known.releases[-2]

    def restore(self, wait: float = 0.0) -> Rolled | None:
        """Brings back what is meant to serve, after a restart of the machine or `down`; None when nothing is."""
        with self._alone(wait) as held:
            known = self._heal()
            return self._bring_back(known, held) if known.releases else None

    def stop(self, wait: float = 5.0, grace: float = 30.0) -> bool:
        """Ends its processes, requests in flight first; what is deployed stays on record. Returns whether something ran."""
        if not self.folder.is_dir():
            return False
        with self._alone(wait):
            known = self.record()
            if known.rollout and known.rollout.phase == "switched":
                self._enter(known, replace(known.rollout, facts={**known.rollout.facts, "resumed": True}))
            parts = [part for part in (*SLOTS, PROXY) if self.processes.running(part)]
            for part in parts:
                self.processes.end(part, grace)
            self._save(replace(known, proxy=None, servers={}, active="", rollout=None, stopped=True))
            return bool(parts)

    def _heal(self) -> Record:
        """After a kill at any moment: a change that had passed every check is finished, any other is taken back."""
        for left in self.folder.glob(f"{record.FILE}.*"):
            left.unlink(missing_ok=True)
        known = self.record()
        if known.rollout is not None:
            known = self._go_on(known)
        for slot in SLOTS:
            if slot not in known.servers:
                self.processes.end(slot, grace=3.0)
        if known.proxy is None:
            self.processes.end(PROXY, grace=3.0)
        elif is_alive(known.proxy):
            self._agree(known)
        return known

    def _agree(self, known: Record) -> None:
        """HAProxy sends requests where the record says, and nowhere else."""
        for name, slot in self.runtime.slots().items():
            server = known.server if name == known.active else None
            if server and (slot.state, slot.port) != ("ready", server.port):
                self.runtime.tell(haproxy.point(name, server.port))
            elif not server and slot.state != "maint":
                self.runtime.tell(haproxy.retire(name))

    def _go_on(self, known: Record) -> Record:
        rollout = known.rollout
        assert rollout is not None, "there is a change to go on with"
        rollout = replace(rollout, facts={**rollout.facts, "resumed": True})
        known = replace(known, rollout=rollout)
        new = known.servers.get(rollout.slot)
        lives = new is not None and is_alive(new.process) and is_healthy(new.port, seconds=_PATIENCE)
        if rollout.phase == "starting" or (rollout.phase == "switching" and not lives):
            self.observe(f"clearing away what an interrupted {rollout.action} of {rollout.release.model} left")
            self._take_back(known, rollout, TargetError("interrupted"))
            return self.record()
        self.observe(f"finishing the interrupted {rollout.action} of {rollout.release.model}")
        known, _ = self._finish(self._ensure_proxy(known))
        self.processes.note(rollout.action, rollout=rollout.id, **rollout.release.brief(), resumed=True)
        return known

    def _bring_back(self, known: Record, held: Lease) -> Rolled:
        """What is meant to serve serves: left alone where it does, else started again."""
        release, server = known.release, known.server
        assert release is not None, "something is meant to serve"
        if server and is_alive(server.process) and is_healthy(server.port, seconds=_PATIENCE):
            known = self._ensure_proxy(known)
            return Rolled(self.name, str(known.url), "none", release, known.release, False, {"total": 0.0})
        return self._roll(known, self._rollout("restart", release, known, "", "it did not answer"), held)

    @contextmanager
    def _alone(self, wait: float) -> Iterator[Lease]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with lease(FolderStore(self.folder), f"target-{self.name}", ttl=self.settings.lease_seconds, wait=wait) as held:
            yield held


def names(home: Path) -> list[str]:
    """The targets of this home, `local` first."""
    folder = home / "targets"
    return sorted(path.name for path in folder.iterdir() if is_target(path.name)) if folder.is_dir() else []
