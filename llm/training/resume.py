"""Where an interrupted run goes on: the newest checkpoint that is whole. Loads without torch, so that a plan can look."""

from collections.abc import Callable, Iterable
from typing import Final

from infra.store.errors import DamagedError
from infra.store.manifest import MANIFEST, Thing, find
from infra.store.protocol import Store

METADATA: Final = ".metadata"  # of torch's format, a pickle: never read before its sha256 was checked


def finished(store: Store, runs: Iterable[str]) -> list[str]:
    """The names of all whole checkpoints of these runs, in the order of their steps."""
    names = [
        entry.name.removesuffix(f"/{MANIFEST}")
        for run in runs
        for entry in store.list(f"runs/{run}/checkpoints")
        if entry.name.endswith(f"/{MANIFEST}")
    ]
    return sorted(names, key=lambda name: name.rsplit("/", 1)[-1])


def newest(store: Store, runs: Iterable[str], tell: Callable[[str], None] = lambda message: None) -> Thing | None:
    """The newest checkpoint whose files are all what its manifest says; None where there is none, and training begins anew.

    tell: hears of each that is damaged and passed over for an older one, and when none is left.
    """
    names = finished(store, runs)
    for name in reversed(names):
        try:
            if (found := find(store, name)) is not None:
                check(found)
                return found
        except DamagedError as error:
            tell(f"a damaged checkpoint is passed over ({error.where}: {error.what})")
    if names:
        tell(f"none of the {len(names)} checkpoints is whole: training begins at the beginning")
    return None


def check(checkpoint: Thing) -> None:
    """Raises DamagedError unless every file is what the manifest says, and what is unpickled to read the others is among them."""
    if METADATA not in checkpoint.files:
        raise DamagedError(f"its manifest does not name {METADATA}", where=checkpoint.place(), mend="Remove the folder.")
    checkpoint.check()


def remove(store: Store, name: str) -> None:
    """Takes a checkpoint away, its manifest first: half of one is never mistaken for a whole."""
    store.delete(f"{name}/{MANIFEST}")
    for entry in list(store.list(name)):
        store.delete(entry.name)
