"""Where an interrupted run goes on: the newest whole checkpoint. Loads without torch, so that a plan can check it first."""

from collections.abc import Iterable

from infra.store.errors import DamagedError
from infra.store.manifest import MANIFEST, Thing, load
from infra.store.protocol import Store


def finished(store: Store, runs: Iterable[str]) -> list[str]:
    """The names of all whole checkpoints of these runs, in the order of their steps."""
    names = [
        entry.name.removesuffix(f"/{MANIFEST}")
        for run in runs
        for entry in store.list(f"runs/{run}/checkpoints")
        if entry.name.endswith(f"/{MANIFEST}")
    ]
    return sorted(names, key=lambda name: name.rsplit("/", 1)[-1])


def newest(store: Store, runs: Iterable[str]) -> Thing | None:
    """The checkpoint to go on from, every file checked. Raises DamagedError naming a file that is not what it was."""
    names = finished(store, runs)
    if not names:
        return None
    found = load(store, names[-1])
    try:
        found.check()
    except DamagedError as error:
        raise DamagedError(
            error.what,
            where=error.where,
            mend=f"Put the file back from a copy, or remove the folder {store.uri(names[-1])} to go on from an earlier checkpoint.",
        ) from None
    return found


def remove(store: Store, name: str) -> None:
    """Takes a checkpoint away, its manifest first: half of one is never mistaken for a whole."""
    store.delete(f"{name}/{MANIFEST}")
    for entry in list(store.list(name)):
        store.delete(entry.name)
