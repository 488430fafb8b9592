"""What the leases of a store say of their holders, for who tidies up after the dead."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from infra.store.errors import NotFoundError
from infra.store.lease import Holder, object_name
from infra.store.protocol import Store


@dataclass(frozen=True)
class Held:
    """A lease that its holder never released, as its record says. uses: what its holder said that it needs meanwhile.

    expires: seconds since the epoch, by the holder's clock. version: of the record, for who would change it.
    """

    name: str
    holder: Holder
    generation: int
    expires: float
    uses: tuple[str, ...]
    version: str


def holders(store: Store) -> tuple[list[Held], list[Held]]:
    """Those that did not release their lease: of now, those too that ran out, and former ones from whom it was taken over.

    A lease remembers the last few of these. They may be dead, or live on and find out.
    """
    now, former = list[Held](), list[Held]()
    for name, record, version in _records(store):
        former += [_held(name, each, version) for each in record.get("replaced", ())]
        if not record["released"]:
            now.append(_held(name, record, version))
    return now, former


def unreleased(store: Store) -> list[Held]:
    """Every lease that was not released, those too that ran out and those of the dead."""
    return holders(store)[0]


def held_now(store: Store) -> dict[str, Held]:
    """The leases that are held: neither released, nor run out, nor of a process that is known to be gone."""
    return {held.name: held for held in unreleased(store) if held.expires > time.time() and not held.holder.is_dead()}


def release(store: Store, held: Held) -> bool:
    """Releases the lease of a holder that is dead; False when it was renewed, taken or released since it was read."""
    try:
        current = store.read_versioned(object_name(held.name))
        if current.version != held.version:
            return False
        record = {**json.loads(current.data), "released": True, "expires": 0.0}
        return store.replace(object_name(held.name), json.dumps(record).encode(), held.version)
    except NotFoundError:
        return False


def _records(store: Store) -> Iterator[tuple[str, dict[str, Any], str]]:
    for entry in store.list("leases"):
        try:
            current = store.read_versioned(entry.name)
        except NotFoundError:  # gone since it was listed
            continue
        yield entry.name.removeprefix("leases/").removesuffix(".json"), json.loads(current.data), current.version


def _held(name: str, record: dict[str, Any], version: str) -> Held:
    uses = tuple(record.get("uses", ()))
    return Held(name, Holder.read(record), record["generation"], record["expires"], uses, version)
