"""The work of `register`: a version in the registry, by reference, with tags, lineage and a card."""

import json
from typing import Any

from flows.pipeline.stage import Job, Outcome
from flows.recipes.sections import RegistrationConfig
from flows.work.card import card
from infra.registry import Registry
from infra.tracking.runs import ensure_run


def work(job: Job, config: RegistrationConfig) -> Outcome:
    package, evidence = job.inputs["package"], job.inputs["evidence"]
    facts: dict[str, Any] = json.loads(evidence.path("evidence.json").read_text())
    lineage: dict[str, Any] = json.loads(package.path("lineage.json").read_text())
    uri, run = job.settings.tracking_uri, package.prefix.split("/")[1]
    mlflow_run = ensure_run(uri, run, job.store.url, experiment=run.rsplit("-", 2)[0])
    tags = {
        "gates": "passed" if all(gate["passed"] for gate in facts["gates"]) else "failed",
        "kind": facts["kind"],
        "headline": f"{facts['headline']['value']:.4f} {facts['headline']['name']}",
        **({"bits_per_byte": f"{facts['headline']['value']:.4f}"} if facts["kind"] == "base" else {}),
        "package.version": package.version,
        "evidence": evidence.uri,
        "evidence.sha256": evidence.files["evidence.json"]["sha256"],
        "lineage.sha256": package.files["lineage.json"]["sha256"],
        "dataset.version": facts["dataset"]["version"],
        "slipway.run": run,
        "registered.by": job.settings.user,
    }
    registry = Registry(uri)
    version = registry.register(
        config.name,
        package.uri,
        mlflow_run,
        tags={"review.status": "candidate", **tags},
        description=card(config.name, facts, lineage),
    )
    registry.set_tags(
        version, {name: value for name, value in tags.items() if version.tags.get(name) != value}
    )  # registered before, measured anew
    result = {
        "name": config.name,
        "version": version.version,
        "source": version.source,
        "kind": facts["kind"],
        "model": f"models:/{config.name}/{version.version}",
        "gates": facts["gates"],
        "evidence_sha256": tags["evidence.sha256"],
    }
    return Outcome({}, result)
