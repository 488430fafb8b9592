"""Stage records: `stages/<key>.json`, written last. They alone decide what is reused."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from flows.pipeline.stage import Reference
from infra.store.errors import DamagedError, NotFoundError
from infra.store.manifest import MANIFEST
from infra.store.protocol import Store

FORMAT = 1


@dataclass(frozen=True)
class Record:
    """A finished stage. `identity` is what its key hashes; `seconds` of wall time and `cpu_seconds` are what it cost."""

    stage: str
    key: str
    run: str
    attempt: int
    identity: Mapping[str, Any]
    outputs: Mapping[str, Reference]
    result: Mapping[str, Any]
    numerics: Mapping[str, Any]
    code: Mapping[str, Any]
    host: str
    started: str
    seconds: float
    cpu_seconds: float

    def missing_output(self, store: Store) -> str:
        """The name of an output that is gone from the store, or nothing."""
        return next((ref.prefix for ref in self.outputs.values() if not store.exists(f"{ref.prefix}/{MANIFEST}")), "")


def write(store: Store, record: Record) -> None:
    store.write(_name(record.key), json.dumps({"format": FORMAT, **asdict(record)}, indent=1, sort_keys=True).encode())


def find(store: Store, key: str) -> Record | None:
    try:
        return _read(store, _name(key))
    except NotFoundError:
        return None


def of_stage(store: Store, stage: str) -> list[Record]:
    """All records of a stage, the newest first."""
    return [record for record in every(store) if record.stage == stage]


def every(store: Store) -> list[Record]:
    """All records, the newest first. Raises DamagedError naming one that cannot be read."""
    found = [_read(store, entry.name) for entry in store.list("stages")]
    return sorted(found, key=lambda record: record.started, reverse=True)


def remove(store: Store, record: Record) -> None:
    """Forgets a result: the stage runs again when it is asked for."""
    store.delete(_name(record.key))


def differences(old: Any, new: Any, where: str = "") -> list[str]:
    """Field by field: `settings.training.steps: 100 -> 200`."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        names = sorted({*old, *new})
        return [line for name in names for line in differences(old.get(name), new.get(name), f"{where}.{name}" if where else name)]
    return [] if old == new else [f"{where}: {_short(old)} -> {_short(new)}"]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _name(key: str) -> str:
    return f"stages/{key}.json"


def _read(store: Store, name: str) -> Record:
    try:
        fields = json.loads(store.read(name))
        if fields.pop("format") != FORMAT:
            raise ValueError
        outputs = {output: Reference(**reference) for output, reference in fields.pop("outputs").items()}
        return Record(outputs=outputs, **fields)
    except (ValueError, KeyError, TypeError):
        raise DamagedError(
            "damaged: not a stage record of this format", where=store.uri(name), mend="Remove the file; the stage runs again."
        ) from None
