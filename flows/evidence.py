"""The evidence about a registered version, checked again before anybody decides on it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flows.models import inside
from infra.registry import ModelVersion
from infra.store.errors import SlipwayError
from infra.store.protocol import Store

EVIDENCE = "evidence.json"


@dataclass(frozen=True)
class Evidence:
    """What was measured; `problems` says why it proves nothing, a phrase each, and is empty when it holds."""

    document: Mapping[str, Any]
    sha256: str
    problems: Sequence[str]

    @property
    def gates(self) -> Sequence[Mapping[str, Any]]:
        return tuple(self.document.get("gates", ()))

    @property
    def failed(self) -> list[str]:
        """The gates that were not passed, each with what was observed."""
        return [f"{gate['name']} ({gate['observed']})" for gate in self.gates if not gate["passed"]]


def evidence_of(store: Store, version: ModelVersion) -> Evidence:
    """Reads it and compares: its sha256 and its verdict with the registry's, its package with the one that is registered."""
    uri, sha256 = version.tags.get("evidence", ""), version.tags.get("evidence.sha256", "")
    if not uri or not sha256 or "gates" not in version.tags:
        return Evidence({}, sha256, ("its gates have not run",))
    place = inside(store, uri)
    if place is None:
        return Evidence({}, sha256, (f"its evidence is not in the store in use ({uri})",))
    try:
        data = store.read(f"{place.prefix}/{EVIDENCE}")
    except SlipwayError as error:
        return Evidence({}, sha256, (f"its evidence cannot be read: {error.what} ({error.where})",))
    actual = hashlib.sha256(data).hexdigest()
    if actual != sha256:
        what = f"its evidence was changed: {EVIDENCE} has sha256 {actual[:12]}, the registry says {sha256[:12]}"
        return Evidence({}, sha256, (what,))
    document = json.loads(data)
    return Evidence(document, sha256, tuple(_contradictions(store, version, document)))


def _contradictions(store: Store, version: ModelVersion, document: Mapping[str, Any]) -> list[str]:
    found = []
    verdict = "passed" if all(gate["passed"] for gate in document["gates"]) else "failed"
    if version.tags["gates"] != verdict:
        found.append(f"the registry says its gates {version.tags['gates']}, the evidence says they {verdict}")
    package = inside(store, version.source)
    registered = version.tags.get("package.version")
    if package is None:
        found.append(f"its package is not in the store in use ({version.source})")
    elif not package.version == registered == document["package"]:
        found.append(
            f"its package is {package.version}, the registry says {registered}, the evidence is about {document['package']}"
        )
    return found
