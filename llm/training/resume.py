"""Where an interrupted run goes on: the newest checkpoint that is whole. Loads without torch, so that a plan can look."""

import math
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
    return sorted(names, key=step_of)


def step_of(name: str) -> int:
    """After which a checkpoint was made."""
    return int(name.rsplit("-", 1)[-1])


def newest(
    store: Store, runs: Iterable[str], tell: Callable[[str], None] = lambda message: None, *, before: float = math.inf
) -> Thing | None:
    """The newest checkpoint whose files are all what its manifest says; None where there is none, and training begins anew.

    tell: hears of each that is damaged and passed over for an older one, and when none is left. before: only those of earlier
    steps than this one.
    """
    names = [name for name in finished(store, runs) if step_of(name) < before]
    for name in reversed(names):
        try:
            if (found := find(store, name)) is not None:
                check(found)
                return found
        except DamagedError as error:
            tell(f"a damaged checkpoint is passed over ({error.where}: {error.what})")
    if names:
        tell(f"no checkpoint is whole, of {len(names)}: training begins at the beginning")
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
