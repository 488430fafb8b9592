"""What a person means by a THING: a served URL, a registered version, a package, a run, a key, a dataset. Then its chain."""

import difflib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from flows.lineage import decisions
from flows.lineage.graph import Graph, Link, Node
from flows.lineage.served import served_version
from flows.lineage.trace import Tracer
from flows.models import PACKAGE_FILES, folder_version, inside_store
from flows.pipeline.records import Record
from flows.pipeline.stage import RUN_ID
from infra.ledger import Entry, Ledger
from infra.registry import ModelVersion, Registry
from infra.settings import Settings
from infra.store import open_store
from infra.store.errors import InputError, SlipwayError
from infra.store.manifest import Thing

_HASH: Final = re.compile(r"[0-9a-f]{4,64}")


class Asker:
    """Finds a thing in one store, its ledger and its registry, and traces it."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.store = settings, open_store(settings.store)
        self.tracer = Tracer(self.store)
        found = decisions.entries(Ledger.of(settings, self.store))
        self.entries: list[Entry] = [] if isinstance(found, str) else found
        self.unreadable = (found,) if isinstance(found, str) else ()

    def explain(self, thing: str) -> Graph:
        """The chain of a thing. Raises InputError, with the nearest known names, where there is none of this name."""
        return self.tracer.graph(self._root(thing))

    def _root(self, thing: str) -> str:
        if thing.startswith(("http://", "https://")):
            return self._server(thing)
        if thing.startswith("models:"):
            return self._model(self._version(thing))
        folder = Path(thing).expanduser().absolute()
        inside = inside_store(self.store, thing) or inside_store(self.store, str(folder)) or thing.strip("/")
        if inside in self.tracer.shelf.modified or self.tracer.shelf.maker(inside):
            return self._stored(inside)
        if (folder / "config.json").is_file():
            return self._folder(folder)
        if match := RUN_ID.fullmatch(thing):
            return self._run(thing, match["key"])
        return self._named(thing.rstrip("/"))

    def record(self, thing: str) -> Record:
        """The record of a finished stage, named by its run's id or its key. Raises InputError where it is none."""
        match = RUN_ID.fullmatch(thing)
        key = match["key"] if match else thing
        found = [known for known in self.tracer.shelf.keys if key and known.startswith(key)]
        if len(found) > 1:
            raise InputError(f"{len(found)} stage records begin so", where=thing, mend="Give more of the key.")
        if not found:
            raise self._unknown(thing)
        record = self.tracer.shelf.record(found[0])
        if isinstance(record, str):
            raise InputError(record, where=thing, mend="Put the file back from a copy of the store.")
        return record

    def training(self, graph: Graph) -> Record:
        """The record of the training run nearest to the root. Raises InputError where the chain knows of none."""
        todo, seen = [graph.root], set[str]()
        while todo:
            node = graph.nodes[todo.pop(0)]
            record = self.tracer.shelf.record(node.hash) if node.kind == "run" and node.hash else None
            if isinstance(record, Record) and (node.id == graph.root or "steps" in record.result):
                return record
            seen.add(node.id)
            todo += [link.to for link in node.links if link.to not in seen]
        raise InputError("no finished training run is known of it", where=graph.root, mend="Name a run that trained.")

    # Each of these makes the root's node and returns its id.

    def _server(self, url: str) -> str:
        told = served_version(url)
        package, weights = str(told.get("package") or ""), str(told["weights_sha256"])
        prefix = self._serving(package, weights)
        thing = self.tracer.shelf.thing(prefix) if prefix else ""
        version = thing.version if isinstance(thing, Thing) else package
        entries = decisions.about(self.entries, package=version)
        deployed = [entry for entry in entries if entry.action in decisions.DEPLOYMENTS]
        links = self._decided(deployed)
        broken = list(self.unreadable)
        model = next((entry.subject["model"] for entry in reversed(entries) if "model" in entry.subject), "")
        if model:
            links.append(self._registered(model))
        elif prefix:
            links.append(Link("serves", self.tracer.thing(prefix), package))
        if not prefix:
            broken.append(f"its package is unknown: nothing in the store has the version {package or 'that it does not tell'}")
        return self.tracer.add(
            Node("server", url, weights, {**told, "prefix": prefix, "deployed": bool(deployed)}, tuple(links), tuple(broken))
        )

    def _serving(self, package: str, weights: str) -> str:
        """Where the package lies that a server serves: by its version, else by its weights; nothing if nowhere."""
        if package and (prefix := self.tracer.shelf.holding(package)):
            return prefix
        for prefix in self.tracer.shelf.modified:
            thing = self.tracer.shelf.thing(prefix)
            if isinstance(thing, Thing) and thing.files.get("model.safetensors", {}).get("sha256") == weights:
                return prefix
        return ""

    def _registered(self, model: str) -> Link:
        """To a registered version that the ledger names; the chain shows it where the registry cannot."""
        try:
            return Link("version", self._model(self._version(model)))
        except SlipwayError as error:
            about = decisions.about(self.entries, package="", model=model)
            links = self._decided([entry for entry in about if entry.action not in decisions.DEPLOYMENTS])
            package = next((entry.subject["package"] for entry in reversed(about) if "package" in entry.subject), "")
            links += [self.tracer.by_version("package", package, used_by=model)] if package else []
            return Link(
                "version",
                self.tracer.add(Node("model version", model, links=tuple(links), broken=(f"the registry: {error.what}",))),
            )

    def _version(self, reference: str) -> ModelVersion:
        uri = self.settings.tracking_uri
        if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
            raise InputError("no model is registered yet", where=reference, mend="`slipway run lifecycle` registers one.")
        return Registry(uri).version(reference)

    def _model(self, version: ModelVersion) -> str:
        package = inside_store(self.store, version.source)
        told, broken = dict(version.tags), list(self.unreadable)
        about = decisions.about(self.entries, package="", model=version.uri)
        links = self._decided([entry for entry in about if entry.action not in decisions.DEPLOYMENTS])
        made = [Link("package", self.tracer.thing(package), told.get("package.version", ""))] if package else []
        broken += [] if package else [f"its package is not in the store in use: {version.source}"]
        if "evidence" in told:  # after the package, which it measured
            evidence = inside_store(self.store, told["evidence"])
            links += [Link("evidence", self.tracer.thing(evidence))] if evidence else []
            broken += [] if evidence else [f"its evidence is not in the store in use: {told['evidence']}"]
        links += made
        facts = {
            "aliases": list(version.aliases),
            "tags": told,
            "source": version.source,
            "mlflow_run_id": version.run_id,
            "created": version.created.isoformat(),
        }
        return self.tracer.add(
            Node("model version", version.uri, told.get("package.version", ""), facts, tuple(links), tuple(broken))
        )

    def _stored(self, prefix: str) -> str:
        """A thing of the store; of a package the decisions about it too."""
        root = self.tracer.thing(prefix)
        node = self.tracer.nodes[root]
        decided = self._decided(decisions.about(self.entries, package=node.hash)) if node.kind == "package" else []
        return self.tracer.add(replace(node, links=(*decided, *node.links)))

    def _folder(self, folder: Path) -> str:
        """A package outside the store: found by its hash, and traced from where the store has it."""
        version = folder_version(folder)
        prefix = self.tracer.shelf.holding(version)
        facts: dict[str, Any] = {"folder": str(folder), "outside": True, "files_hashed": list(PACKAGE_FILES)}
        lineage = folder / "lineage.json"
        try:
            facts |= {"lineage": json.loads(lineage.read_text())} if lineage.is_file() else {}
        except (OSError, ValueError):
            facts |= {"lineage": None}
        links = [Link("copy of", self._stored(prefix), version)] if prefix else []
        broken = [] if prefix else [f"where it came from is unknown: the store in use holds no package with the version {version}"]
        return self.tracer.add(Node("model folder", str(folder), version, facts, tuple(links), tuple(broken)))

    def _run(self, run: str, key: str) -> str:
        """A run by its id; of an attempt that did not finish, the one that did is told."""
        if not any(known.startswith(key) for known in self.tracer.shelf.keys):
            if any(self.store.list(f"runs/{run}")):
                what = "it has not finished: there is no stage record of it"
                return self.tracer.add(Node("run", f"runs/{run}", "", {"run": run}, broken=(what,)))
            raise self._unknown(run)
        record = self.record(run)
        root = self.tracer.record(record, outputs=True)
        if record.run != run and any(self.store.list(f"runs/{run}")):
            node = self.tracer.nodes[root]
            self.tracer.add(replace(node, facts={**node.facts, "asked": run}))
        elif record.run != run:
            raise self._unknown(run)
        return root

    def _named(self, thing: str) -> str:
        """A dataset's name, name/version or prefix, a key, or the beginning of any content version."""
        shelf = self.tracer.shelf
        prefixes = [
            prefix for prefix in shelf.modified if prefix == thing or prefix.startswith((f"{thing}/", f"datasets/{thing}/"))
        ]
        prefixes += [prefix for prefix in shelf.modified if prefix == f"datasets/{thing}"]
        if thing and prefixes:
            return self._stored(max(prefixes, key=lambda prefix: shelf.modified[prefix]))
        if _HASH.fullmatch(thing):
            if any(key.startswith(thing) for key in shelf.keys):
                return self.tracer.record(self.record(thing), outputs=True)
            if prefix := next((each for each in shelf.modified if _begins(shelf.thing(each), thing)), ""):
                return self._stored(prefix)
        raise self._unknown(thing)

    def _decided(self, found: list[Entry]) -> list[Link]:
        for entry in found:
            self.tracer.add(decisions.node(entry))
        return [decisions.link(entry) for entry in found]

    def _unknown(self, thing: str) -> InputError:
        shelf = self.tracer.shelf
        runs = [record.run for record in shelf.records]
        names = sorted({"/".join(prefix.split("/")[1:2]) for prefix in shelf.modified if prefix.startswith("datasets/")})
        models = sorted({str(record.result["model"]) for record in shelf.records if "model" in record.result})
        known = [*names, *runs, *models]
        near = difflib.get_close_matches(thing, known, n=3, cutoff=0.5) or known[:6]
        hint = f"the nearest names are {', '.join(near)}" if near else f"the store {self.store.url} is empty"
        return InputError(
            f"nothing of this name is known; {hint}", where=thing, mend="`slipway store du` lists what the store holds."
        )


def _begins(thing: Thing | str, version: str) -> bool:
    return isinstance(thing, Thing) and thing.version.startswith(version)
