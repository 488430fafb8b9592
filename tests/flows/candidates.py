"""A registry and a store with candidates in them, as `register` leaves them, without a training."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.decision import Desk
from infra.anchors import HomeAnchor
from infra.ledger import Ledger
from infra.registry import ModelVersion, Registry
from infra.settings import Settings
from infra.store.folder import FolderStore
from infra.store.manifest import publish
from infra.store.protocol import Store

PASSED = {"name": "better", "rule": "fewer bits", "observed": "1.0 against 2.0", "passed": True}
FAILED = {"name": "better", "rule": "fewer bits", "observed": "2.0 against 1.0", "passed": False}


@dataclass(frozen=True)
class Quay:
    """A home of its own with a store, a registry and a desk to decide at."""

    home: Path

    @classmethod
    def made(cls, home: Path, database: Path) -> "Quay":
        home.mkdir(parents=True)
        shutil.copy(database, home / "mlflow.db")  # making its tables takes seconds
        return cls(home)

    @property
    def settings(self) -> Settings:
        return Settings(SLIPWAY_HOME=self.home, SLIPWAY_USER="ann@quay")

    @property
    def store(self) -> FolderStore:
        return FolderStore(self.home / "store")

    @property
    def registry(self) -> Registry:
        return Registry(self.settings.tracking_uri)

    @property
    def ledger(self) -> Ledger:
        return Ledger.of(self.settings)

    def desk(self, store: Store | None = None, registry: Registry | None = None) -> Desk:
        store = store or self.store
        return Desk(store, registry or self.registry, Ledger(store, (HomeAnchor(self.home, store.url),)))

    def candidate(
        self, word: str, *gates: Mapping[str, Any], name: str = "ship", champion: str | None = None, tags: bool = True
    ) -> ModelVersion:
        """A new version whose package holds `word`; without `tags` its gates have not run."""
        folder = self.home / f"making-{word}"
        (folder / "package").mkdir(parents=True)
        (folder / "package/word.txt").write_text(word)
        (folder / "package/lineage.json").write_text(json.dumps({"run": f"pretrain-{word}-1"}))
        package = publish(self.store, f"runs/pretrain-{word}-1/artifacts/package", folder / "package", {})
        evidence = {"format": 1, "package": package.version, "champion": champion, "gates": list(gates)}
        (folder / "evidence").mkdir()
        (folder / "evidence/evidence.json").write_text(json.dumps({**evidence, "bits_per_byte": {"model": {"value": len(word)}}}))
        measured = publish(self.store, f"runs/evaluate-{word}-1/artifacts/evidence", folder / "evidence", {})
        known = {
            "review.status": "candidate",
            "gates": "passed" if all(gate["passed"] for gate in gates) else "failed",
            "package.version": package.version,
            "evidence": measured.uri,
            "evidence.sha256": measured.files["evidence.json"]["sha256"],
            "registered.by": "bob@quay",
        }
        return self.registry.register(name, package.uri, tags=known if tags else {"review.status": "candidate"})

    def evidence_file(self, word: str) -> Path:
        return self.store.root / f"runs/evaluate-{word}-1/artifacts/evidence/evidence.json"

    def aliases(self, name: str = "ship") -> dict[str, int]:
        return {alias: each.version for each in self.registry.versions(name) for alias in each.aliases}

    def statuses(self, name: str = "ship") -> dict[int, str]:
        return {each.version: each.tags["review.status"] for each in self.registry.versions(name)}

    def decided(self) -> list[tuple[str, str, str]]:
        return [(entry.action, entry.subject["model"], entry.who) for entry in self.ledger.entries()]
