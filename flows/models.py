"""Which model is meant: a base, the champion, a registered version; all end as packages in the store."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flows import stages
from flows.origins import HUB, origin
from flows.pipeline.session import Walked, current
from flows.pipeline.stage import Input, Reference, Stage
from infra.registry import ModelVersion, Registry
from infra.store.errors import InputError
from infra.store.fingerprint import fingerprint
from infra.store.manifest import find, known_sha256
from infra.store.protocol import Store

PACKAGE_FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


def base_model(base: str, run: Callable[[Stage], Walked]) -> Input | None:
    """The package of the recipe's `base`, or None when there is none: a registered one as it is, another imported first."""
    if not base:
        return None
    session = current()
    if base.startswith("models:/"):
        return package_at(session.store, Registry(session.settings.tracking_uri).version(base).source)
    if base.startswith(HUB):
        raise InputError(
            "a recipe's base is a model that is here already",
            where=base,
            mend=f"`slipway models import {base}` brings it in, and says the models:/NAME/VERSION to name as base.",
        )
    if known := inside(session.store, str(Path(base).expanduser().absolute())):
        return known
    return run(stages.import_base(origin(base)))["package"]


def champion_of(name: str) -> Reference | None:
    """The package behind the alias `champion` of a registered model, if there is one."""
    session = current()
    registry = Registry(session.settings.tracking_uri)
    if registry.is_untouched():
        return None  # nothing was ever registered; asking would load MLflow and make its database
    champion = registry.champion(name)
    return package_at(session.store, champion.source) if champion else None


def registered(reference: str) -> ModelVersion:
    """The version that models:/NAME/VERSION or models:/NAME@ALIAS stands for; InputError when there is none."""
    registry = Registry(current().settings.tracking_uri)
    if registry.is_untouched():
        raise InputError("no model is registered yet", where=reference, mend="`slipway run lifecycle` registers one.")
    return registry.version(reference)


def missing_version(result: Mapping[str, Any]) -> str:
    """What `register` recorded, if the registry does not know it any more."""
    registry, model = Registry(current().settings.tracking_uri), f"models:/{result['name']}/{result['version']}"
    if not registry.has(result["name"], result["version"], result["source"]):
        return model
    told = registry.version(model).tags.get("evidence.sha256")
    return (
        "" if "evidence_sha256" not in result or told == result["evidence_sha256"] else f"verdict on {model}"
    )  # it was measured otherwise since


def package_at(store: Store, source: str) -> Reference:
    """The package of this store that a registry's source names. Raises InputError when it lies elsewhere or is gone."""
    reference = inside(store, source)
    if reference is None:
        raise InputError(
            "this model's package is not in the store in use", where=source, mend="Set SLIPWAY_STORE to the store that holds it."
        )
    return reference


def folder_version(folder: Path) -> str:
    """A hash of a model folder's weights, configuration and tokenizer. Raises InputError naming a file that is missing."""
    if missing := [name for name in ("config.json", "model.safetensors", "tokenizer.json") if not (folder / name).is_file()]:
        raise InputError(
            f"not a model folder: it has no {missing[0]}",
            where=str(folder),
            mend="Name a Hugging Face folder, a model package, or models:/NAME/VERSION.",
        )
    hashes = {}
    for name in PACKAGE_FILES:
        if (path := folder / name).is_file():
            hashes[name] = known_sha256(path)
    return package_version(hashes)


def package_version(hashes: Mapping[str, str]) -> str:
    """The hash of a model package, from the sha256 of its files by name: only weights, configuration and tokenizer count."""
    return fingerprint({name: hashes[name] for name in PACKAGE_FILES if name in hashes})[:16]


def inside(store: Store, place: str) -> Reference | None:
    """The finished thing at a path or URI, when it lies in this store."""
    prefix = inside_store(store, place)
    package = find(store, prefix) if prefix else None
    return Reference(package.prefix, package.version) if package else None


def inside_store(store: Store, place: str) -> str:
    """The prefix in this store that an address or a path stands for; nothing when it lies elsewhere."""
    roots = [root if root.endswith("/") else f"{root}/" for root in (store.uri(""), store.url)]
    return next((place.removeprefix(root).strip("/") for root in roots if place.startswith(root)), "")
