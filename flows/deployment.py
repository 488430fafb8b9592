"""Which versions may be deployed, and what a target has to know of one. Nothing here changes anything."""

from dataclasses import dataclass
from pathlib import Path

from flows.evidence import Evidence, evidence_of
from flows.models import inside, package_at, registered
from flows.pipeline.session import current
from flows.pipeline.stage import Input, Reference
from infra.registry import ModelVersion
from infra.store.errors import InputError, RefusedError
from infra.store.manifest import load
from infra.store.protocol import Store
from infra.targets.record import Release

APPROVED = "approved"


@dataclass(frozen=True)
class Deployable:
    """An approved version, its package, and the evidence on which it was approved."""

    version: ModelVersion
    package: Reference
    evidence: Input


def approved(model: str) -> Deployable:
    """What `models:/NAME@champion` or `models:/NAME/VERSION` stands for. Raises RefusedError unless a review approved it.

    A folder, or a package of another store, raises InputError: what runs for others has a name, evidence and a decision.
    """
    if not model.startswith("models:/"):
        raise InputError(
            "only a registered version is deployed" + (", not a folder" if Path(model).expanduser().is_dir() else ""),
            where=model,
            mend="Name models:/NAME@champion or models:/NAME/VERSION (`slipway models list`); `slipway serve` serves a folder.",
        )
    version, store = registered(model), current().store
    package = package_at(store, version.source)
    checked(store, version)
    return Deployable(version, package, inside(store, version.tags["evidence"]) or version.tags["evidence.sha256"])


def checked(store: Store, version: ModelVersion) -> Evidence:
    """The evidence of a version. Raises RefusedError unless it is approved, and approved on evidence that holds."""
    status = version.tags.get("review.status", "candidate")
    if status != APPROVED:
        what = "its review rejected it" if status == "rejected" else "no review has approved it"
        raise RefusedError(what, where=version.uri, mend=f"`slipway review approve {version.uri} --reason ...` approves it.")
    evidence = evidence_of(store, version)
    if evidence.problems:
        raise RefusedError(
            f"it was approved, but {'; '.join(evidence.problems)}",
            where=version.uri,
            mend="Measure and register it again (`slipway run register --force evaluate`).",
        )
    return evidence


def release_of(store: Store, version: ModelVersion, *, require_golden: bool) -> Release:
    """What a target has to know of a version. Raises RefusedError where it has no golden answers and should."""
    golden = tuple(checked(store, version).document.get("golden", ()))
    if require_golden and not golden:
        raise RefusedError(
            "its evaluation kept no golden answers that a server would have to give again",
            where=version.uri,
            mend="Measure it again (`slipway run register --force evaluate`), or deploy it --without-golden.",
        )
    package = load(store, package_at(store, version.source).prefix)
    return Release(version.uri, version.name, package.version, package.place(), golden)
