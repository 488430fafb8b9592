"""The work of `register-import`: an imported model in the registry, by reference, with what is known of it; nothing is measured."""

import json
from typing import Any

from flows.pipeline.stage import Job, Outcome
from flows.stage_settings import RegisteringImport
from flows.work.card import import_card
from infra.registry import Registry
from infra.store.manifest import Thing
from infra.tracking.runs import ensure_run
from llm.models.hub_config import kind as kind_of
from llm.text.chat import ChatFormat


def work(job: Job, config: RegisteringImport) -> Outcome:
    package = job.inputs["package"]
    lineage: dict[str, Any] = json.loads(package.path("lineage.json").read_text())
    kind = _kind(package)
    uri, run = job.settings.tracking_uri, package.prefix.split("/")[1]
    mlflow_run = ensure_run(uri, run, job.store.url, experiment=run.rsplit("-", 2)[0])
    tags = {
        "review.status": "candidate",
        "kind": kind,
        "architecture": json.loads(package.path("config.json").read_text()).get("architectures", [""])[0],
        "imported.from": lineage["imported_from"],
        **({"imported.revision": lineage["revision"]} if lineage.get("revision") else {}),
        "licence": lineage["model_licence"] or "not stated",
        "package.version": package.version,
        "weights.sha256": lineage["weights_sha256"],
        "lineage.sha256": package.files["lineage.json"]["sha256"],
        "slipway.run": run,
        "registered.by": job.settings.user,
    }
    version = Registry(uri).register(
        config.name, package.uri, mlflow_run, tags=tags, description=import_card(config.name, kind, lineage)
    )
    result = {
        "name": config.name,
        "version": version.version,
        "source": version.source,
        "kind": kind,
        "model": version.uri,
    }
    return Outcome({}, result)


def _kind(package: Thing) -> str:
    """What it does, in the words that evidence uses."""
    folder = package.folder()
    if kind_of(folder) == "classifier":
        return "classifier"
    return "assistant" if ChatFormat.load(folder) else "base"
