"""Where the ledger's head is kept outside the store: in the home, and on each registered model in MLflow."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from filelock import FileLock

from infra.registry import Registry
from infra.store.errors import DamagedError, InputError

TAG: Final = "ledger.head"
_FILE: Final = "ledger-heads.json"


@dataclass(frozen=True)
class Head:
    """The last entry, as an anchor remembers it."""

    number: int
    hash: str


class Anchor(Protocol):
    """One place that remembers a head."""

    @property
    def name(self) -> str:
        """What a finding calls it."""
        ...

    def read(self) -> Head | None: ...

    def write(self, head: Head) -> None: ...

    def alone(self) -> AbstractContextManager[None]:
        """A context in which nobody else on this machine moves it."""
        ...


class HomeAnchor:
    """A file in the home; one home may have worked with several stores."""

    def __init__(self, home: Path, store_url: str) -> None:
        self._home, self._store_url = home, store_url
        self._path = home / _FILE

    @property
    def name(self) -> str:
        return str(self._path)

    def read(self) -> Head | None:
        found = self._all().get(self._store_url)
        return None if found is None else _parsed(found, self.name)

    def write(self, head: Head) -> None:
        heads = {**self._all(), self._store_url: asdict(head)}
        temporary = self._path.with_name(f"{_FILE}.{os.getpid()}")
        temporary.write_text(json.dumps(heads, indent=1, sort_keys=True))
        temporary.replace(self._path)

    @contextmanager
    def alone(self) -> Iterator[None]:
        self._home.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self._path}.lock", timeout=30):
            yield

    def _all(self) -> dict[str, Any]:
        try:
            heads = json.loads(self._path.read_text())
        except FileNotFoundError:
            return {}
        except ValueError:
            heads = None
        if not isinstance(heads, dict):
            raise _damaged(self.name)
        return heads


class RegistryAnchor:
    """A tag of a registered model. Deciders of one model hold a lease: nobody else moves it."""

    def __init__(self, registry: Registry, model: str, tags: Mapping[str, str] | None = None) -> None:
        self._registry, self._model, self._tags = registry, model, tags

    @classmethod
    def every(cls, registry: Registry) -> "list[RegistryAnchor]":
        """One for each model that has the tag, read already."""
        return [cls(registry, model, tags) for model, tags in registry.model_tags().items() if TAG in tags]

    @property
    def name(self) -> str:
        return f"the tag {TAG} of models:/{self._model}"

    def read(self) -> Head | None:
        tags = self._registry.model_tags().get(self._model, {}) if self._tags is None else self._tags
        if TAG not in tags:
            return None
        number, _, digest = tags[TAG].partition(" ")
        return _parsed({"number": int(number) if number.isdigit() else None, "hash": digest}, self.name)

    def write(self, head: Head) -> None:
        self._registry.set_model_tag(self._model, TAG, f"{head.number} {head.hash}")

    @contextmanager
    def alone(self) -> Iterator[None]:
        yield


def _parsed(fields: Any, where: str) -> Head:
    if not isinstance(fields, dict) or not isinstance(fields.get("number"), int) or not isinstance(fields.get("hash"), str):
        raise _damaged(where)
    return Head(fields["number"], fields["hash"])


def _damaged(where: str) -> InputError:
    return DamagedError("damaged: not the head of a ledger", where=where, mend="Put it back from a copy, or remove it knowingly.")
