"""Which model is meant: a base, the champion, a registered version; all end as packages in the store."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flows import stages
from flows.pipeline.session import Walked, current
from flows.pipeline.stage import Input, Reference, Stage
from infra.registry import Registry
from infra.store.errors import InputError
from infra.store.fingerprint import fingerprint
from infra.store.manifest import find
from infra.store.protocol import Store

PACKAGE_FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


def base_model(base: str, run: Callable[[Stage], Walked]) -> Input | None:
    """The package of the recipe's `base`, or None when there is none: a registered one as it is, a folder imported first."""
    if not base:
        return None
    session = current()
    if base.startswith("models:/"):
        return package_at(session.store, Registry(session.settings.tracking_uri).version(base).source)
    folder = Path(base).expanduser().absolute()
    if inside := _inside(session.store, str(folder)):
        return inside
    return run(stages.import_base(str(folder), folder_version(folder)))["package"]


def champion_of(name: str) -> Reference | None:
    """The package behind the alias `champion` of a registered model, if there is one."""
    session = current()
    uri = session.settings.tracking_uri
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        return None  # nothing was ever registered; asking would load MLflow and make its database
    champion = Registry(uri).champion(name)
    return package_at(session.store, champion.source) if champion else None


def missing_version(result: Mapping[str, Any]) -> str:
    """What `register` recorded, if the registry does not know it any more."""
    session = current()
    known = Registry(session.settings.tracking_uri).has(result["name"], result["version"], result["source"])
    return "" if known else f"models:/{result['name']}/{result['version']}"


def package_at(store: Store, source: str) -> Reference:
    """The package of this store that a registry's source names. Raises InputError when it lies elsewhere or is gone."""
    reference = _inside(store, source)
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
            with path.open("rb") as file:
                hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return fingerprint(hashes)[:16]


def _inside(store: Store, place: str) -> Reference | None:
    for root in (f"{store.uri('')}", f"{store.url}/"):
        root = root if root.endswith("/") else f"{root}/"
        if place.startswith(root) and (package := find(store, place.removeprefix(root).rstrip("/"))):
            return Reference(package.prefix, package.version)
    return None
