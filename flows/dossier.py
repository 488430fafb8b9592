"""What a reviewer reads about one version: what changed against the champion, and whether the evidence is whole."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flows.decision import Desk
from flows.evidence import Evidence, evidence_of
from flows.models import inside
from flows.pipeline.records import differences
from infra.ledger import Entry
from infra.registry import ModelVersion
from infra.store.errors import NotFoundError
from infra.store.protocol import Store

_NO_METRICS: Final = (
    "format",
    "package",
    "champion",
    "dataset",
    "gates",
    "golden",
    "samples",
    "hardware",
    "headline",
    "prompts_sha256",
)


@dataclass(frozen=True)
class Dossier:
    """metrics: by name, this version's value and the champion's own, None where one has none."""

    version: ModelVersion
    champion: ModelVersion | None
    evidence: Evidence
    metrics: Mapping[str, tuple[float | None, float | None]]
    lineage: Sequence[str]
    decisions: Sequence[Entry]

    def document(self) -> dict[str, Any]:
        return {
            "model": self.version.uri,
            "aliases": list(self.version.aliases),
            "review_status": self.version.tags.get("review.status"),
            "champion": self.champion.uri if self.champion else None,
            "gates": list(self.evidence.gates),
            "evidence": {
                "ok": not self.evidence.problems,
                "sha256": self.evidence.sha256,
                "problems": list(self.evidence.problems),
                "place": self.version.tags.get("evidence"),
            },
            "metrics": {name: {"this": this, "champion": champion} for name, (this, champion) in self.metrics.items()},
            "lineage_differences": list(self.lineage),
            "decisions": [entry.document() for entry in self.decisions],
            "card": self.version.description,
        }


def read_dossier(desk: Desk, model: str) -> Dossier:
    """Reads everything again, changes nothing."""
    version = desk.registry.version(model)
    standing = desk.standing(version.name)
    champion = desk.registry.champion(version.name)
    evidence = evidence_of(desk.store, version)
    theirs = evidence_of(desk.store, champion) if champion else None
    ours_measured, theirs_measured = dict(_metrics(evidence.document)), dict(_metrics(theirs.document) if theirs else ())
    lineage = differences(_lineage(desk.store, champion), _lineage(desk.store, version)) if champion else []
    return Dossier(
        version=version,
        champion=champion,
        evidence=evidence,
        metrics={name: (ours_measured.get(name), theirs_measured.get(name)) for name in {**ours_measured, **theirs_measured}},
        lineage=lineage,
        decisions=standing.decisions[version.version],
    )


def _metrics(document: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, float]]:
    """Every number that was measured, whatever kind of model it is: `bits_per_byte.model` and the like."""
    for key, value in document.items():
        if not where and key in _NO_METRICS:
            continue
        name = f"{where}.{key}" if where else key
        if isinstance(value, Mapping):
            if "value" in value:  # an interval: its ends are on the card
                value = value["value"]
            else:
                yield from _metrics(value, name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield name, float(value)


def _lineage(store: Store, version: ModelVersion) -> dict[str, Any]:
    place = inside(store, version.source)
    try:
        found: dict[str, Any] = json.loads(store.read(f"{place.prefix}/lineage.json")) if place else {}
    except NotFoundError:
        return {}
    return found
