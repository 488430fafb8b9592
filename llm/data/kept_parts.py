"""Finished parts of a stage's work in the store, until the whole is published: what a killed run has done is not done again."""

from pathlib import Path
from typing import Any

from infra.store.errors import DamagedError
from infra.store.fingerprint import fingerprint
from infra.store.manifest import MANIFEST, Thing, find, publish
from infra.store.protocol import Store


class KeptParts:
    """Parts under `parts/<key>/`, each named by what it was made of. key: of the stage, whose settings bear on all of them."""

    def __init__(self, store: Store, key: str) -> None:
        self._store, self._prefix = store, f"parts/{key}"

    def find(self, made_of: Any) -> Thing | None:
        """The part, every file of it checked; None where there is none, half of one or a damaged one, which is then forgotten."""
        name = self._name(made_of)
        try:
            part = find(self._store, name)
            if part is not None:
                part.check()
        except DamagedError:
            self._store.delete(f"{name}/{MANIFEST}")
            return None
        return part

    def keep(self, made_of: Any, folder: Path, facts: dict[str, Any]) -> Thing:
        """Moves a finished part into the store."""
        return publish(self._store, self._name(made_of), folder, facts)

    def clear(self) -> None:
        """Removes all of them: manifests first, so that none is ever seen without its files."""
        names = [entry.name for entry in self._store.list(self._prefix)]
        for name in sorted(names, key=lambda name: not name.endswith(f"/{MANIFEST}")):
            self._store.delete(name)

    def _name(self, made_of: Any) -> str:
        return f"{self._prefix}/{fingerprint(made_of)[:16]}"
