"""The model registry: versions by reference. Registering copies nothing; the version's source is the package in the store."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from infra.store.errors import InputError
from infra.tracking.client import connect, errors

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion
    from mlflow.entities.model_registry import RegisteredModel
    from mlflow.tracking import MlflowClient

CHAMPION = "champion"
PREVIOUS = "previous"
_DESCRIPTION_LENGTH = 5_000  # MLflow's limit
_REFERENCE = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>\d+))")


@dataclass(frozen=True)
class ModelVersion:
    """One version of a registered model. `run_id` is MLflow's; `source` the package's URI."""

    name: str
    version: int
    source: str
    run_id: str | None
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    description: str
    created: datetime

    @property
    def uri(self) -> str:
        return f"models:/{self.name}/{self.version}"


class Registry:
    """The registry of one MLflow, a server's or a local database's. Making a Registry touches nothing and loads nothing.

    Every method raises TrackingError within seconds when MLflow cannot be reached.
    """

    def __init__(self, tracking_uri: str) -> None:
        self.tracking_uri = tracking_uri
        self._connected: MlflowClient | None = None

    def is_untouched(self) -> bool:
        """Whether it is a local database that nobody has made yet: asking anything of it would."""
        return self.tracking_uri.startswith("sqlite:///") and not Path(self.tracking_uri.removeprefix("sqlite:///")).exists()

    def register(
        self,
        name: str,
        source_uri: str,
        mlflow_run_id: str | None = None,
        *,
        tags: Mapping[str, str] | None = None,
        description: str = "",
    ) -> ModelVersion:
        """A new version of `name` that refers to `source_uri`, or the one that refers to it already, unchanged.

        mlflow_run_id: the run whose artifact directory holds the source (`infra.tracking.runs.ensure_run`); a server takes a
        source in a folder only with it. description: Markdown, cut to 5,000 characters.
        """
        if not re.fullmatch(r"[^/:@'\"]+", name):
            raise InputError("not a model's name", where=name, mend="Choose a name without slash, colon, at sign or quotes.")
        existing = [version for version in self.versions(name) if version.source == source_uri]
        if existing:
            return existing[0]
        client = self._client()
        with errors(self.tracking_uri):
            self._make_model(client, name)
            made = client.create_model_version(
                name, source_uri, run_id=mlflow_run_id, tags=dict(tags or {}), description=_cut(description), await_creation_for=0
            )
            return _version(made, {})

    def versions(self, name: str | None = None) -> list[ModelVersion]:
        """Every version of a model, or of all, by name and the youngest first; none of a model that is not known."""
        client = self._client()
        with errors(self.tracking_uri):
            aliases = {model.name: model.aliases for model in _every_model(client)}
            found: list[MlflowVersion] = []
            for model in [name] if name is not None else aliases:
                token: str | None = None
                while model in aliases:
                    page = client.search_model_versions(f"name = '{model}'", page_token=token)
                    found += page
                    if not (token := page.token):
                        break
            return sorted((_version(each, aliases[each.name]) for each in found), key=lambda each: (each.name, -each.version))

    def version(self, reference: str) -> ModelVersion:
        """What `models:/name@alias` or `models:/name/3` stands for; InputError naming the nearest names when there is none."""
        match = _REFERENCE.fullmatch(reference)
        if match is None:
            raise InputError(
                "not a model's address", where=reference, mend="Write models:/name@champion, models:/name/3 or a package's folder."
            )
        name, alias = match["name"], match["alias"]
        versions = self.versions(name)
        for version in versions:
            if alias in version.aliases if alias else version.version == int(match["version"]):
                return version
        if not versions:
            names = sorted({each.name for each in self.versions()})
            raise InputError(f"no model {name!r} is registered", where=reference, mend=_nearest(name, names, "model"))
        if alias:
            known = sorted({each for version in versions for each in version.aliases})
            raise InputError(f"model {name!r} has no alias {alias!r}", where=reference, mend=_nearest(alias, known, "alias"))
        numbers = ", ".join(str(each.version) for each in versions[:10])
        raise InputError(f"model {name!r} has no version {match['version']}", where=reference, mend=f"Its versions are {numbers}.")

    def has(self, name: str, version: int, source: str) -> bool:
        """Whether that version is registered and still refers to that package."""
        client = self._client()
        with errors(self.tracking_uri):
            from mlflow.exceptions import MlflowException  # heavy, and loaded by then

            try:
                found = client.get_model_version(name, str(version))
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return False
            return bool(found.source == source)

    def champion(self, name: str) -> ModelVersion | None:
        """The version that a release made the champion, or None."""
        return next((version for version in self.versions(name) if CHAMPION in version.aliases), None)

    def set_tags(self, version: ModelVersion, tags: Mapping[str, str]) -> None:
        client = self._client()
        with errors(self.tracking_uri):
            for key, value in tags.items():
                client.set_model_version_tag(version.name, str(version.version), key, value)

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Moves an alias; a release alone moves `champion` and `previous`."""
        client = self._client()
        with errors(self.tracking_uri):
            client.set_registered_model_alias(name, alias, str(version))

    def delete_alias(self, name: str, alias: str) -> None:
        """No error when there is none."""
        client = self._client()
        with errors(self.tracking_uri):
            client.delete_registered_model_alias(name, alias)

    def model_tags(self) -> dict[str, dict[str, str]]:
        """The tags of every registered model, by its name; not those of its versions."""
        client = self._client()
        with errors(self.tracking_uri):
            return {model.name: dict(model.tags) for model in _every_model(client)}

    def set_model_tag(self, name: str, key: str, value: str) -> None:
        client = self._client()
        with errors(self.tracking_uri):
            client.set_registered_model_tag(name, key, value)

    def _client(self) -> "MlflowClient":
        if self._connected is None:
            self._connected = connect(self.tracking_uri)
        return self._connected

    @staticmethod
    def _make_model(client: "MlflowClient", name: str) -> None:
        from mlflow.exceptions import MlflowException  # heavy, and loaded by then

        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise


def _every_model(client: "MlflowClient") -> "list[RegisteredModel]":
    models: list[RegisteredModel] = []
    token: str | None = None
    while True:
        page = client.search_registered_models(page_token=token)
        models += page
        token = page.token
        if not token:
            return models


def _version(made: "MlflowVersion", aliases: Mapping[str, str]) -> ModelVersion:
    return ModelVersion(
        name=made.name,
        version=int(made.version),
        source=made.source or "",
        run_id=made.run_id or None,
        aliases=tuple(sorted(alias for alias, version in aliases.items() if int(version) == int(made.version))),
        tags=dict(made.tags),
        description=made.description or "",
        created=datetime.fromtimestamp(made.creation_timestamp / 1000, UTC),
    )


def _cut(description: str) -> str:
    return description if len(description) <= _DESCRIPTION_LENGTH else description[: _DESCRIPTION_LENGTH - 2] + "\n…"


def _nearest(word: str, known: list[str], kind: str) -> str:
    if not known:
        return f"There is no {kind} yet."
    near = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(known[:10])}."
