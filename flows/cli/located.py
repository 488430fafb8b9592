"""Where a MODEL of the command line lies: a registered version's package in the store, or a folder."""

from dataclasses import dataclass
from pathlib import Path

from infra.services import with_services
from infra.settings import Settings
from infra.store.errors import InputError


@dataclass(frozen=True)
class Located:
    """name: the registered name, or the folder's."""

    folder: Path
    name: str


def locate(model: str, *, checked: bool = False) -> Located:
    """For models:/NAME@ALIAS, models:/NAME/VERSION or a folder. Raises InputError.

    checked: whether a registered version's files are compared with their hashes now; else whoever loads them does it.
    """
    if not model.startswith("models:"):
        folder = Path(model).expanduser().absolute()
        if not folder.is_dir():
            mend = "Name a package's folder, models:/NAME/VERSION or models:/NAME@champion."
            raise InputError("no such folder", where=model, mend=mend)
        return Located(folder, folder.name)
    settings = with_services(Settings.load())
    uri = settings.tracking_uri
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        raise InputError("no model is registered yet", where=model, mend="`slipway run lifecycle` registers one.")
    # both load what a folder does not need, MLflow among it
    from flows.models import package_at
    from infra.registry import Registry
    from infra.store import open_store
    from infra.store.manifest import load

    version = Registry(uri).version(model)
    store = open_store(settings.store)
    package = package_at(store, version.source)
    return Located(load(store, package.prefix).folder(checked=checked), version.name)
