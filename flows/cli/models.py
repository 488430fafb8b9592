"""`slipway models`: the registry, and packages as folders."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.output import emit, size, table
from infra.registry import ModelVersion, Registry
from infra.services import with_services
from infra.settings import Settings
from infra.store.errors import DamagedError, InputError


def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Every registered version, by model and the youngest first."""
    registry = _registry()
    versions = [] if registry.is_untouched() else registry.versions()
    emit({"models": [_summary(version) for version in versions]}, as_json, lambda: _listing(versions))


def show(
    model: Annotated[str, typer.Argument(help="models:/NAME@ALIAS, models:/NAME/VERSION or a package's folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """One version with its card, or what a package's folder says of itself."""
    if not model.startswith("models:"):
        facts = _package(Path(model).expanduser().absolute())
        emit(facts, as_json, lambda: _package_text(facts))
        return
    registry = _registry()
    if registry.is_untouched():
        raise InputError("no model is registered yet", where=model, mend="`slipway run lifecycle` registers one.")
    version = registry.version(model)
    document = _summary(version) | {"mlflow_run_id": version.run_id, "tags": dict(version.tags), "description": version.description}
    emit(document, as_json, lambda: _version_text(version))


def _registry() -> Registry:
    return Registry(with_services(Settings.load()).tracking_uri)


def _summary(version: ModelVersion) -> dict[str, Any]:
    bits = version.tags.get("bits_per_byte")
    return {
        "name": version.name,
        "version": version.version,
        "model": version.uri,
        "aliases": list(version.aliases),
        "review_status": version.tags.get("review.status"),
        "kind": version.tags.get("kind"),
        "headline": version.tags.get("headline"),
        "bits_per_byte": float(bits) if bits else None,
        "source": version.source,
        "created": version.created.isoformat(),
    }


def _listing(versions: list[ModelVersion]) -> str:
    if not versions:
        return "No model is registered yet. `slipway run lifecycle` registers one."
    head = ("model", "aliases", "review", "measured", "created")
    rows = [(v.uri, ", ".join(v.aliases), _tag(v, "review.status"), _tag(v, "headline"), _when(v)) for v in versions]
    return table(head, rows)


def _version_text(version: ModelVersion) -> str:
    facts = {
        "aliases": ", ".join(version.aliases) or "none",
        "review": _tag(version, "review.status"),
        "measured": _tag(version, "headline"),
        "source": version.source,
        "created": _when(version),
    }
    return "\n".join([version.uri, *(f"  {name}: {value}" for name, value in facts.items()), "", version.description])


def _package(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise InputError(
            "no such folder", where=str(folder), mend="Name a package's folder, models:/NAME/VERSION or models:/NAME@champion."
        )
    if not (folder / "config.json").is_file():
        raise InputError(
            "not a model package: it has no config.json",
            where=str(folder),
            mend="`slipway models list` names the registered models.",
        )
    files = {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()}
    lineage = _read(folder / "lineage.json") if "lineage.json" in files else None
    return {
        "folder": str(folder),
        "bytes": sum(files.values()),
        "files": files,
        "config": _read(folder / "config.json"),
        "lineage": lineage,
    }


def _package_text(facts: dict[str, Any]) -> str:
    lines = [f"{facts['folder']}: {len(facts['files'])} files, {size(facts['bytes'])}"]
    for part in ("config", "lineage"):
        if facts[part]:
            lines += ["", part, *(f"  {name}: {json.dumps(value, ensure_ascii=False)}" for name, value in facts[part].items())]
    return "\n".join(lines)


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text())
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise DamagedError("damaged: not a JSON object", where=str(path), mend="Put the file back from a copy.")
    return document


def _tag(version: ModelVersion, name: str) -> str:
    return version.tags.get(name, "-")


def _when(version: ModelVersion) -> str:
    return version.created.strftime("%Y-%m-%d %H:%M UTC")
