"""From a thing backwards: what it is, which run made it, from what, back to the sources. What is missing is shown in its place."""

import json
from collections.abc import Mapping
from typing import Any, Final

from flows.lineage.graph import Graph, Kind, Link, Node
from flows.lineage.shelf import Shelf
from flows.pipeline.records import Record
from infra.store.errors import SlipwayError
from infra.store.manifest import Thing
from infra.store.protocol import Store

_KINDS: Final[dict[str, Kind]] = {
    "package": "package",
    "champion": "package",
    "base": "package",
    "evidence": "evidence",
    "tokens": "tokens",
    "corpus": "corpus",
}
_OF_IMPORT: Final = {
    "from": "imported_from",
    "revision": "revision",
    "licence": "model_licence",
    "files": "source_files",
}
_OUTSIDE: Final = ("source",)  # inputs of a stage that never were in the store


class Tracer:
    """Builds the chain into `nodes`; every method returns the id of the node it made, or found made already."""

    def __init__(self, store: Store) -> None:
        self.store, self.shelf = store, Shelf(store)
        self.nodes: dict[str, Node] = {}
        self._open: set[str] = set()

    def graph(self, root: str) -> Graph:
        """The root first, then what it came from, each before what it was made of."""
        ordered, todo = dict[str, Node](), [root]
        while todo:
            node = self.nodes[todo.pop()]
            if node.id not in ordered:
                ordered[node.id] = node
                todo += [link.to for link in reversed(node.links)]
        return Graph(root, ordered)

    def add(self, node: Node) -> str:
        self.nodes[node.id] = node
        return node.id

    def by_version(self, role: str, version: str, *, used_by: str) -> Link:
        """To an input that is known by its content version alone."""
        if prefix := self.shelf.holding(version):
            return Link(role, self.thing(prefix), version)
        what = f"its {role} is gone: nothing in the store has the content version {version}, which {used_by} was made from"
        return Link(role, self.add(Node(_kind(None, role), f"{role}/{version}", version, broken=(what,))), version)

    def thing(self, prefix: str, *, follow: bool = True) -> str:
        """A dataset, a package, an evidence. follow: on to the run that made it."""
        if prefix in self.nodes or prefix in self._open:  # open: a record that was tampered with may lead in a circle
            return prefix
        self._open.add(prefix)
        found = self.shelf.thing(prefix)
        if isinstance(found, str):
            return self._gone(prefix, found)
        facts, broken = _facts(found), list[str]()
        for name, key in (("lineage.json", "lineage"), ("evidence.json", "evidence")):
            if name in found.files:
                read = read_json(self.store, f"{prefix}/{name}")
                facts |= {key: read} if isinstance(read, Mapping) else {}
                broken += [read] if isinstance(read, str) else []
        links = self._origin(found, facts, broken) if follow else ()
        return self.add(Node(_kind(found.facts.get("kind"), prefix), prefix, found.version, facts, links, tuple(broken)))

    def record(self, record: Record, *, follow: bool = True, outputs: bool = False) -> str:
        """A finished stage. follow: on to its inputs; outputs: with what it made."""
        name = f"stages/{record.key}.json"
        if name in self.nodes or name in self._open:
            return name
        self._open.add(name)
        links = (
            [Link(role, self.thing(ref.prefix, follow=False), ref.version) for role, ref in record.outputs.items()]
            if outputs
            else []
        )
        if follow:
            links += [self._input(record, role, str(version)) for role, version in record.identity["inputs"].items()]
        return self.add(Node("run", name, record.key, record_facts(record), tuple(links)))

    def _input(self, record: Record, role: str, version: str) -> Link:
        if role in _OUTSIDE:
            return Link(role, self._source(version, record), version)
        if record.stage == "import-base" and role == "base":
            told = self._imported(record)
            return Link(role, self.add(Node("model folder", f"base/{version}", version, {"outside": True, **told})), version)
        return self.by_version(role, version, used_by=record.run)

    def _imported(self, record: Record) -> dict[str, Any]:
        """Where a model from outside came from, as the package that was made of it says."""
        made = next((ref.prefix for ref in record.outputs.values()), "")
        lineage = read_json(self.store, f"{made}/lineage.json")
        if isinstance(lineage, str):
            return {}
        return {name: lineage.get(key) for name, key in _OF_IMPORT.items() if lineage.get(key)}

    def _gone(self, prefix: str, why: str) -> str:
        """What is missing or unreadable: the record of the run that made it still says what it was, and from what."""
        record = self.shelf.maker(prefix)
        if record is None:
            return self.add(Node(_kind(None, prefix), prefix, broken=(why,)))
        role, version = next((role, ref.version) for role, ref in record.outputs.items() if ref.prefix == prefix)
        return self.add(Node(_kind(None, role), prefix, version, links=(Link("made by", self.record(record)),), broken=(why,)))

    def _origin(self, thing: Thing, facts: Mapping[str, Any], broken: list[str]) -> tuple[Link, ...]:
        """The run that made a thing; where its record is gone, what the thing says itself of what it was made from."""
        record = self.shelf.maker(thing.prefix)
        if record is not None:
            measured = thing.facts.get("kind") == "evidence" and len(self._open) > 1  # what it measured stands in the chain already
            return (Link("made by", self.record(record, follow=not measured)),)
        told = facts.get("lineage", {})
        broken.append(self._no_maker(told))
        if isinstance(tokens := told.get("tokens"), str):
            return (self.by_version("tokens", tokens, used_by=thing.prefix),)
        if isinstance(corpus := thing.facts.get("corpus"), str):
            return (self.by_version("corpus", corpus, used_by=thing.prefix),)
        source = thing.facts.get("source")
        return (Link("source", self._source_of(thing.facts, {})),) if isinstance(source, Mapping) else ()

    def _no_maker(self, told: Mapping[str, Any]) -> str:
        """Why there is no record of the run that made it; another attempt of the same stage may have written over it."""
        if not isinstance(key := told.get("key"), str):
            return "the record of the run that made it is gone: no stage record names it"
        record = self.shelf.record(key)
        if isinstance(record, str):
            return f"of the run that made it, {told.get('run')}, {record}"
        return f"the record of the run that made it, {told.get('run')}, was replaced by that of a later attempt, {record.run}"

    def _source(self, version: str, record: Record) -> str:
        place = {"path": record.result.get("source_path"), "host": record.host}
        made = [found for ref in record.outputs.values() if isinstance(found := self.shelf.thing(ref.prefix), Thing)]
        facts = next((thing.facts for thing in made if "sources" in thing.facts), None)
        if facts is not None:
            return self._source_of(facts, place, version)
        what = "its files are not known: the manifest that names them is gone or unreadable"
        return self.add(Node("source", f"source/{version}", version, place, broken=(what,)))

    def _source_of(self, facts: Mapping[str, Any], place: Mapping[str, Any], version: str = "") -> str:
        about = facts.get("source")
        about = about if isinstance(about, Mapping) else {}
        version = version or str(about.get("version", ""))
        told = {
            "made": facts.get("kind"),
            "kind": about.get("kind") or ("stdlib" if facts.get("interpreter") else None),
            "summary": about.get("summary"),
            **place,
            "licence": facts.get("licence"),
            "interpreter": facts.get("interpreter"),
            "files": facts.get("sources", []),
        }
        return self.add(Node("source", f"source/{version}", version, told))


def record_facts(record: Record) -> dict[str, Any]:
    """What a stage record tells, without what its links say."""
    return {
        "stage": record.stage,
        "run": record.run,
        "attempt": record.attempt,
        "settings": record.identity.get("settings", {}),
        "inputs": record.identity["inputs"],
        "outputs": {name: {"prefix": ref.prefix, "version": ref.version} for name, ref in record.outputs.items()},
        "result": record.result,
        "numerics": record.numerics,
        "code": record.code,
        "host": record.host,
        "started": record.started,
        "seconds": record.seconds,
        "cpu_seconds": record.cpu_seconds,
    }


def read_json(store: Store, name: str) -> Mapping[str, Any] | str:
    """A JSON object of the store, or what is wrong with it in a sentence."""
    try:
        document = json.loads(store.read(name))
    except (SlipwayError, ValueError) as error:
        return f"{name} is unreadable: {error.what if isinstance(error, SlipwayError) else error}"
    return document if isinstance(document, Mapping) else f"{name} is unreadable: not a JSON object"


def _facts(thing: Thing) -> dict[str, Any]:
    files = {name: dict(entry) for name, entry in thing.files.items()}
    told = {name: value for name, value in thing.facts.items() if name not in ("sources", "kind")}
    return {**told, "version": thing.version, "stored_bytes": thing.bytes(), "stored_files": files}


def _kind(told: object, place: str) -> Kind:
    """By what its manifest says; where that is gone, by where it was or what it was an input as."""
    return _KINDS.get(str(told)) or _KINDS.get(place.rsplit("/", 1)[-1], "dataset")
