"""Leases: two runs of one stage never work at once, and one that lost its lease cannot publish.

A store that is away takes no lease from anybody: the holder goes on and tries again, and proves that the lease is still its own
before it publishes. Who was replaced meanwhile, because its time ran out for somebody else, is told so and stops.
"""

import json
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from infra.store.errors import LeaseHeldError, LeaseLostError, NotFoundError, StoreError
from infra.store.liveness import Owner, myself
from infra.store.protocol import Store

_PATIENCE: Final = 600.0
_AGAIN_SECONDS: Final = 2.0
_REMEMBERED: Final = 4  # holders whose lease was taken over: they may never have said that they ended
_alive_here: set[str] = set()  # nonces of the leases this process holds: one that is not in it belongs to a dead attempt


@dataclass(frozen=True)
class Holder:
    """Who holds a lease: a process, and one of the holds it has had."""

    owner: Owner
    nonce: str

    @classmethod
    def read(cls, record: dict[str, Any]) -> Self:
        """Of a lease's record, as `asdict` wrote it."""
        return cls(Owner.read(record["holder"]["owner"]), record["holder"]["nonce"])

    def is_dead(self) -> bool:
        """Whether it is certainly gone. One on another machine, even of our machine's name, is judged by its expiry alone."""
        me = myself()
        if not self.owner.is_here() or self.owner.process.boot != me.boot:
            return False
        if self.owner.process == me:
            return self.nonce not in _alive_here
        return self.owner.is_gone()


class Lease:
    """A held lease. Its generation grows with every holder (fencing), and `check` must pass before anything is published."""

    def __init__(
        self,
        store: Store,
        name: str,
        holder: Holder,
        generation: int,
        ttl: float,
        uses: Sequence[str] = (),
        replaced: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self.name, self.holder, self.generation, self.ttl, self.uses = name, holder, generation, ttl, tuple(uses)
        self._store, self._replaced = store, tuple(replaced)
        self._writing = threading.Lock()
        self._lost = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease {name}", daemon=True)

    def check(self, *, patience: float = _PATIENCE) -> None:
        """Returns once the lease is ours by the store's own word, and will be for a third of its time at least.

        patience: seconds to wait for a store that is away; then its error is raised. Raises LeaseLostError when it was taken.
        """
        deadline = time.monotonic() + patience
        while True:
            self.check_not_lost()
            try:
                self._renew(unless_left=self.ttl / 3)
                break
            except StoreError:
                if time.monotonic() > deadline:
                    raise
                self._ended.wait(self._pause)
        self.check_not_lost()

    def check_not_lost(self) -> None:
        """The same as far as we know, without asking the store: for work that takes hours, at each of its steps."""
        if self._lost.is_set():
            raise LeaseLostError(
                "another run took this work over while ours was stalled or cut off from the store",
                where=self.name,
                mend="Nothing of ours was published; start again to reuse the other run's result.",
            )

    @property
    def _pause(self) -> float:
        """Seconds until a store that did not answer is asked again."""
        return min(_AGAIN_SECONDS, self.ttl / 3)

    def _record(self, *, released: bool = False) -> bytes:
        expires = 0.0 if released else time.time() + self.ttl
        record = {
            "format": 1,
            "holder": asdict(self.holder),
            "generation": self.generation,
            "expires": expires,
            "released": released,
            "uses": self.uses,
            "replaced": self._replaced,
        }
        return json.dumps(record).encode()

    def _renew(self, *, released: bool = False, unless_left: float = float("inf")) -> None:
        """Writes our record anew, unless it holds for so many seconds still; notes when the lease is somebody else's by now."""
        with self._writing:
            while True:
                current = self._store.read_versioned(object_name(self.name))
                record = json.loads(current.data)
                if record["holder"]["nonce"] != self.holder.nonce:
                    self._lost.set()
                    return
                if record["expires"] - time.time() > unless_left:
                    return
                if self._store.replace(object_name(self.name), self._record(released=released), current.version):
                    return

    def _keep(self) -> None:
        pause = self.ttl / 3
        while not self._lost.is_set() and not self._ended.wait(pause):
            try:
                self._renew()
                pause = self.ttl / 3
            except Exception:  # a store that is away: nobody can take the lease there, and who can elsewhere is found out later
                pause = self._pause


@contextmanager
def lease(store: Store, name: str, *, ttl: float = 60.0, wait: float = 0.0, uses: Sequence[str] = ()) -> Iterator[Lease]:
    """Holds `leases/<name>.json` for the length of the block, renewed in a thread.

    ttl: seconds after which a holder on another host that went silent is taken for dead; one on this host whose process
    is gone is replaced at once. wait: seconds to wait for a holder. Raises LeaseHeldError when it is still held then.
    uses: prefixes in the store that have to stay meanwhile; they stand in the record for who tidies up.
    """
    me = Holder(Owner.here(), uuid.uuid4().hex)
    _alive_here.add(me.nonce)
    try:
        held = _acquire(store, name, me, ttl, time.monotonic() + wait, uses)
    except BaseException:
        _alive_here.discard(me.nonce)
        raise
    held._thread.start()
    try:
        yield held
    except BaseException:
        with suppress(StoreError):  # what happened in the block is what is to be told
            _give_back(held)
        raise
    _give_back(held)


def _give_back(held: Lease) -> None:
    _alive_here.discard(held.holder.nonce)
    held._ended.set()
    held._thread.join()
    if not held._lost.is_set():
        held._renew(released=True)


def generation(store: Store, name: str) -> int:
    """How often the lease was taken so far."""
    try:
        return int(json.loads(store.read(object_name(name)))["generation"])
    except NotFoundError:
        return 0


def _acquire(store: Store, name: str, me: Holder, ttl: float, deadline: float, uses: Sequence[str]) -> Lease:
    while True:
        mine = Lease(store, name, me, 1, ttl, uses)
        if store.write_if_absent(object_name(name), mine._record()):
            return mine
        try:
            current = store.read_versioned(object_name(name))
        except NotFoundError:
            continue
        record = json.loads(current.data)
        holder = Holder.read(record)
        if record["released"] or record["expires"] < time.time() or holder.is_dead():
            replaced = record.get("replaced", [])
            if not record["released"]:
                replaced = [*replaced, {part: record[part] for part in ("holder", "generation", "expires")}][-_REMEMBERED:]
            mine = Lease(store, name, me, record["generation"] + 1, ttl, uses, replaced)
            if store.replace(object_name(name), mine._record(), current.version):
                return mine
            continue
        if time.monotonic() >= deadline:
            raise LeaseHeldError(
                f"{holder.owner} is at work on this already",
                where=name,
                mend="Wait for it and start again (its result will be reused), or pass --wait SECONDS.",
            )
        time.sleep(min(0.5, max(0.0, deadline - time.monotonic())))


def object_name(name: str) -> str:
    """Where in the store the record of a lease is."""
    return f"leases/{name}.json"
