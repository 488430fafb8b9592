"""Leases: two runs of one stage never work at once, and one that lost its lease cannot publish."""

import json
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Self

from infra.store.errors import LeaseHeldError, LeaseLostError, NotFoundError
from infra.store.liveness import Owner, myself
from infra.store.protocol import Store

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

    def __init__(self, store: Store, name: str, holder: Holder, generation: int, ttl: float, uses: Sequence[str] = ()) -> None:
        self.name, self.holder, self.generation, self.ttl, self.uses = name, holder, generation, ttl, tuple(uses)
        self._store = store
        self._lost = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease {name}", daemon=True)

    def check(self) -> None:
        """Raises LeaseLostError unless the lease is still ours, by the store's own word."""
        if self._lost.is_set() or self._read()["holder"]["nonce"] != self.holder.nonce:
            self._lost.set()
            raise LeaseLostError(
                "another run took this work over while ours was stalled",
                where=self.name,
                mend="Nothing of ours was published; start again to reuse the other run's result.",
            )

    def _record(self, *, released: bool = False) -> bytes:
        expires = 0.0 if released else time.time() + self.ttl
        record = {
            "format": 1,
            "holder": asdict(self.holder),
            "generation": self.generation,
            "expires": expires,
            "released": released,
            "uses": self.uses,
        }
        return json.dumps(record).encode()

    def _read(self) -> dict[str, Any]:
        record: dict[str, Any] = json.loads(self._store.read(_object(self.name)))
        return record

    def _rewrite(self, *, released: bool = False) -> bool:
        current = self._store.read_versioned(_object(self.name))
        if json.loads(current.data)["holder"]["nonce"] != self.holder.nonce:
            return False
        return self._store.replace(_object(self.name), self._record(released=released), current.version)

    def _keep(self) -> None:
        deadline = time.monotonic() + self.ttl
        while not self._ended.wait(self.ttl / 3):
            try:
                if not self._rewrite():
                    self._lost.set()
                    return
                deadline = time.monotonic() + self.ttl
            except Exception:  # a store that is away for a moment: ours until the time is up
                if time.monotonic() > deadline:
                    self._lost.set()
                    return


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
    finally:
        _alive_here.discard(me.nonce)
        held._ended.set()
        held._thread.join()
        if not held._lost.is_set():
            held._rewrite(released=True)


def generation(store: Store, name: str) -> int:
    """How often the lease was taken so far."""
    try:
        return int(json.loads(store.read(_object(name)))["generation"])
    except NotFoundError:
        return 0


@dataclass(frozen=True)
class Held:
    """A lease as its record says. uses: what its holder said that it needs meanwhile."""

    holder: Holder
    uses: tuple[str, ...]


def held_now(store: Store) -> dict[str, Held]:
    """The leases that are held: neither released, nor run out, nor of a process that is known to be gone."""
    found = {}
    for entry in store.list("leases"):
        try:
            record = json.loads(store.read(entry.name))
        except NotFoundError:  # gone since it was listed
            continue
        holder = Holder.read(record)
        if not record["released"] and record["expires"] > time.time() and not holder.is_dead():
            name = entry.name.removeprefix("leases/").removesuffix(".json")
            found[name] = Held(holder, tuple(record.get("uses", ())))
    return found


def _acquire(store: Store, name: str, me: Holder, ttl: float, deadline: float, uses: Sequence[str]) -> Lease:
    while True:
        mine = Lease(store, name, me, 1, ttl, uses)
        if store.write_if_absent(_object(name), mine._record()):
            return mine
        try:
            current = store.read_versioned(_object(name))
        except NotFoundError:
            continue
        record = json.loads(current.data)
        holder = Holder.read(record)
        if record["released"] or record["expires"] < time.time() or holder.is_dead():
            mine = Lease(store, name, me, record["generation"] + 1, ttl, uses)
            if store.replace(_object(name), mine._record(), current.version):
                return mine
            continue
        if time.monotonic() >= deadline:
            raise LeaseHeldError(
                f"{holder.owner} is at work on this already",
                where=name,
                mend="Wait for it and start again (its result will be reused), or pass --wait SECONDS.",
            )
        time.sleep(min(0.5, max(0.0, deadline - time.monotonic())))


def _object(name: str) -> str:
    return f"leases/{name}.json"
