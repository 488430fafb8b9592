"""What a store holds, to be found by hash or by place. Nothing is hashed here, and what is damaged is told, not raised."""

from collections.abc import Mapping
from functools import cached_property

from flows.pipeline import records
from flows.pipeline.records import Record
from infra.store.errors import SlipwayError
from infra.store.manifest import MANIFEST, Thing, find
from infra.store.protocol import Store


class Shelf:
    """One look at a store; what is asked for is read once."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @cached_property
    def modified(self) -> Mapping[str, float]:
        """Every finished dataset and every artifact of a run, by its prefix: when it was finished, in seconds since the epoch."""
        listed = [*self.store.list("datasets"), *self.store.list("runs")]
        manifests = {entry.name.removesuffix(f"/{MANIFEST}"): entry for entry in listed if entry.name.endswith(f"/{MANIFEST}")}
        return {prefix: entry.modified for prefix, entry in manifests.items() if "/checkpoints/" not in prefix}

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """Of every stage record."""
        return tuple(entry.name.removeprefix("stages/").removesuffix(".json") for entry in self.store.list("stages"))

    @cached_property
    def records(self) -> tuple[Record, ...]:
        """Every stage record that can be read, the oldest first."""
        read = [record for key in self.keys if isinstance(record := self.record(key), Record)]
        return tuple(sorted(read, key=lambda record: str(record.started)))

    def record(self, key: str) -> Record | str:
        """The record, or what is wrong with it in a sentence."""
        try:
            found = records.find(self.store, key)
        except SlipwayError as error:
            return f"its record is unreadable: {error.where}: {error.what}"
        if found is None:
            return f"its record is gone: no stages/{key}.json in the store"
        whole = _is_object(found.identity) and _is_object(found.identity.get("inputs"))
        return found if whole else f"its record is unreadable: stages/{key}.json does not say what it was made from"

    def thing(self, prefix: str) -> Thing | str:
        """The thing, or what is wrong with it in a sentence."""
        try:
            found = find(self.store, prefix)
        except SlipwayError as error:
            return f"its manifest is unreadable: {error.where}: {error.what}"
        if found is None:
            return f"gone: no {prefix}/{MANIFEST} in the store"
        whole = _is_object(found.facts) and _is_object(found.files)
        whole = whole and all(_is_object(entry) and {"sha256", "bytes"} <= {*entry} for entry in found.files.values())
        return found if whole else f"its manifest is unreadable: {prefix}/{MANIFEST} does not name its files"

    def holding(self, version: str) -> str:
        """The prefix of the thing with this content version; where records say it was, if it is gone; nothing if unheard of."""
        told = [ref.prefix for record in self.records for ref in record.outputs.values() if ref.version == version]
        for prefix in told:
            if prefix in self.modified:
                return prefix
        for prefix in self.modified:
            thing = self.thing(prefix)
            if prefix.rsplit("/", 1)[-1] == version or (isinstance(thing, Thing) and thing.version == version):
                return prefix
        return told[0] if told else ""

    def maker(self, prefix: str) -> Record | None:
        """The stage record that names the thing under `prefix` as an output; of several the oldest."""
        return next((record for record in self.records if any(ref.prefix == prefix for ref in record.outputs.values())), None)


def _is_object(value: object) -> bool:
    """Whether a field that was read from JSON is what it should be: a tampered document is shown, not stumbled over."""
    return isinstance(value, Mapping)
