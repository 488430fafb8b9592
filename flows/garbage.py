"""What the store holds and nothing refers to any more.

Wanted is what is named by a version in the registry, an entry of the ledger, a target, or the holder of a lease; the newest
result of each stage on each dataset; whatever is young; and all that those were made from. The rest is garbage, and so is
what a writer that died left half-written. What is not of a kind that Slipway writes is nobody's garbage, and stays.
"""

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from flows.models import inside_store
from flows.pipeline import records
from flows.pipeline.records import Record
from flows.pipeline.stage import RUN_ID
from infra.ledger import Ledger
from infra.registry import Registry
from infra.settings import Settings
from infra.store.errors import SlipwayError
from infra.store.leases import Held, held_now
from infra.store.manifest import MANIFEST, Thing, find
from infra.store.protocol import Entry, Store
from infra.targets import record as target_record

DAY: Final = 86_400.0
LEASE: Final = "store-gc"
_LINEAGE: Final = "lineage.json"


@dataclass(frozen=True)
class Garbage:
    """Objects that go together, and the stage records that would promise them: those go first."""

    name: str
    why: str
    entries: tuple[Entry, ...]
    records: tuple[Record, ...] = ()
    leftover: bool = False

    @property
    def bytes(self) -> int:
        return sum(entry.bytes for entry in self.entries)

    def document(self) -> dict[str, Any]:
        return {"name": self.name, "why": self.why, "objects": len(self.entries), "bytes": self.bytes}


@dataclass
class _Unit:
    """A dataset's version, a run, or the parts of an unfinished stage: kept or freed as a whole."""

    name: str
    entries: list[Entry] = field(default_factory=list)
    things: list[str] = field(default_factory=list)

    @property
    def newest(self) -> float:
        return max(entry.modified for entry in self.entries)

    def halves(self) -> dict[str, list[Entry]]:
        """What lies in a folder that should have a manifest and has none, by that folder."""
        found: dict[str, list[Entry]] = defaultdict(list)
        for entry in self.entries:
            if folder := _thing_of(entry.name):
                found[folder].append(entry)
        return {folder: entries for folder, entries in found.items() if folder not in self.things}


def find_garbage(store: Store, named: Iterable[str], *, days: float, now: float | None = None) -> list[Garbage]:
    """All of it, the largest first. Changes nothing.

    named: whatever a registry, a ledger and targets name (`names`): versions, places, runs; what is none of them does not matter.
    days: for how long what nothing refers to is kept; of what is half-written it is a day. Raises DamagedError for a stage
    record that cannot be read: nobody knows what it refers to.
    """
    now = time.time() if now is None else now
    units, every = _units(store), records.every(store)
    reach = _Reach(store, units, every)
    reach.name(named)
    reach.want(*_newest(every, reach))
    for unit in units.values():
        if unit.newest > now - days * DAY:
            reach.name([unit.name])
    leases = {name: lease for name, lease in held_now(store).items() if name != LEASE}
    for name, lease in leases.items():
        reach.name([*lease.uses, *(unit for unit in units if _belongs(unit, name))])
    reach.close()

    freed = [unit for unit in units.values() if unit.name not in reach.units]
    found = [Garbage(unit.name, _why(unit, reach), tuple(unit.entries), reach.promising(unit)) for unit in freed]
    for unit in units.values():
        if unit.name in reach.units and not any(_belongs(unit.name, name) for name in leases):
            found += [
                Garbage(folder, "half-written", tuple(entries))
                for folder, entries in unit.halves().items()
                if max(entry.modified for entry in entries) < now - DAY
            ]
    found += [
        Garbage(left.name, "left by a writer that died", (left,), leftover=True)
        for left in store.leftovers()
        if left.modified < now - DAY
    ]
    return sorted(found, key=lambda each: (-each.bytes, each.name))


def names(settings: Settings, store: Store) -> Iterator[str]:
    """Every string by which the registry, the ledger and this home's targets may name something in the store.

    Raises TrackingError where MLflow cannot be asked, DamagedError where the ledger cannot be read: what they name is not
    known then, and nothing may be freed.
    """
    registry = Registry(settings.tracking_uri)
    for version in [] if registry.is_untouched() else registry.versions():
        yield from (version.source, *version.tags.values())
    for entry in Ledger.of(settings, store).entries():
        yield from _strings(entry.document())
    targets = settings.home / "targets"
    for folder in targets.iterdir() if targets.is_dir() else ():
        if known := target_record.read(folder):
            for release in (*known.releases, *((known.rollout.release,) if known.rollout else ())):
                yield from (release.package, release.folder)


def free(store: Store, garbage: Iterable[Garbage]) -> Iterator[Garbage]:
    """Removes it, one after the other, and yields what was removed; what somebody has begun to use meanwhile stays."""
    for each in garbage:
        if any(_uses(lease, name, each.name) for name, lease in held_now(store).items()):
            continue
        for record in each.records:
            records.remove(store, record)
        for entry in sorted(each.entries, key=lambda entry: not entry.name.endswith(f"/{MANIFEST}")):
            store.discard(entry) if each.leftover else store.delete(entry.name)
        yield each


class _Reach:
    """What is wanted, followed to the end."""

    def __init__(self, store: Store, units: Mapping[str, _Unit], every: Iterable[Record]) -> None:
        self.units: set[str] = set()
        self._store, self._known, self._every = store, units, list(every)
        self._things = {prefix: _thing(store, prefix) for unit in units.values() for prefix in unit.things}
        self._of_version: dict[str, set[str]] = defaultdict(set)
        for prefix, thing in self._things.items():
            if thing is not None:
                self._of_version[thing.version].add(_unit_of(f"{prefix}/"))
        self._makers: dict[str, list[Record]] = defaultdict(list)
        for record in self._every:
            for unit in {f"runs/{record.run}", *(_unit_of(f"{ref.prefix}/") for ref in record.outputs.values())}:
                self._makers[unit].append(record)
        self._records: set[str] = set()
        self._todo: list[str] = []

    def name(self, strings: Iterable[str]) -> None:
        """Wants what is meant by any of these: a unit, a place in one, a content version, a run."""
        for string in strings:
            place = inside_store(self._store, string) or string
            candidates = {_unit_of(f"{place}/"), f"runs/{string}", *self._of_version.get(string, ())}
            for unit in candidates & self._known.keys() - self.units:
                self.units.add(unit)
                self._todo.append(unit)

    def want(self, *wanted: Record) -> None:
        """Wants what these made, and what they made it from."""
        for record in wanted:
            if record.key not in self._records:
                self._records.add(record.key)
                self.name(
                    [record.run, *(ref.prefix for ref in record.outputs.values()), *_strings(record.identity.get("inputs", {}))]
                )
                self.name(_strings(record.result))

    def close(self) -> None:
        while self._todo:
            unit = self._todo.pop()
            self.want(*self._makers[unit])
            if not self._makers[unit]:  # its record is gone: what it says itself
                for prefix in self._known[unit].things:
                    self.name(self._told(prefix))

    def promising(self, unit: _Unit) -> tuple[Record, ...]:
        """The records that name what is freed with this unit: as an output, or, having none, as what they decided on."""
        versions = {thing.version for prefix in unit.things if (thing := self._things[prefix])}
        gone = {version for version in versions if not self._of_version[version] & self.units}
        return tuple(
            record
            for record in self._every
            if any(_unit_of(f"{ref.prefix}/") == unit.name for ref in record.outputs.values())
            or (not record.outputs and gone & {*_strings(record.identity.get("inputs", {}))})
        )

    def datasets(self, versions: Iterable[str]) -> set[str]:
        """The names of the datasets among these content versions."""
        units = {unit for version in versions for unit in self._of_version.get(version, ())}
        return {unit.split("/")[1] for unit in units if unit.startswith("datasets/")}

    def is_finished(self, unit: str) -> bool:
        return bool(self._makers[unit])

    def _told(self, prefix: str) -> Iterator[str]:
        thing = self._things[prefix]
        if thing is not None:
            yield from _strings(thing.facts)
            if _LINEAGE in thing.files:
                yield from _strings(json.loads(self._store.read(f"{prefix}/{_LINEAGE}")))


def _newest(every: Iterable[Record], reach: _Reach) -> list[Record]:
    """Of each stage the newest record on the same datasets: those that the next run of a recipe reuses."""
    found: dict[Any, Record] = {}
    for record in every:  # the newest first
        used = reach.datasets(_strings(record.identity.get("inputs", {})))
        made = {ref.prefix.split("/")[1] for ref in record.outputs.values() if ref.prefix.startswith("datasets/")}
        found.setdefault((record.stage, frozenset(used | made)), record)
    return list(found.values())


def _units(store: Store) -> dict[str, _Unit]:
    found: dict[str, _Unit] = {}
    for entry in store.list():
        if name := _unit_of(entry.name):
            unit = found.setdefault(name, _Unit(name))
            unit.entries.append(entry)
            if entry.name.endswith(f"/{MANIFEST}"):
                unit.things.append(entry.name.removesuffix(f"/{MANIFEST}"))
    return found


def _unit_of(name: str) -> str:
    """datasets/NAME/VERSION, runs/RUN or parts/KEY, for an object in it; nothing for any other. MLflow's folders are its own."""
    parts = name.split("/")
    depth = {"datasets": 3, "runs": 2, "parts": 2}.get(parts[0], 0)
    return "/".join(parts[:depth]) if depth < len(parts) and depth and parts[1] != "mlflow" else ""


def _thing_of(name: str) -> str:
    """The folder of an object that is visible by its manifest alone; nothing for an object that stands for itself."""
    parts = name.split("/")
    depth = 3 if parts[0] == "datasets" else 4 if parts[0] == "runs" and parts[2] in ("artifacts", "checkpoints") else 0
    return "/".join(parts[:depth]) if depth and len(parts) > depth else ""


def _thing(store: Store, prefix: str) -> Thing | None:
    """The thing; None for a checkpoint, which nothing names, and for one whose manifest is damaged."""
    try:
        return None if "/checkpoints/" in prefix else find(store, prefix)
    except SlipwayError:
        return None


def _why(unit: _Unit, reach: _Reach) -> str:
    kind = unit.name.split("/")[0]
    if kind == "parts":
        return "parts of a stage that nobody went on with"
    if not unit.things:
        return "half-written"
    if kind == "runs" and not reach.is_finished(unit.name):
        return "a run that did not finish"
    return "superseded" if reach.is_finished(unit.name) else "nothing refers to it"


def _belongs(unit: str, lease: str) -> bool:
    """Whether the holder of a stage's lease writes in this unit."""
    kind, _, name = unit.partition("/")
    if kind == "parts":
        return lease.rpartition("-")[2] == name[:12]
    run = RUN_ID.fullmatch(name) if kind == "runs" else None
    return run is not None and lease == f"{run['stage']}-{run['key']}"


def _uses(lease: Held, name: str, garbage: str) -> bool:
    unit = _unit_of(f"{garbage}/")
    return _belongs(unit, name) or any(_unit_of(f"{used}/") == unit for used in lease.uses)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _strings(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _strings(each)
