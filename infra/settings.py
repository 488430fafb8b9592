"""Where things are: the environment's own variables where they exist, SLIPWAY_* for the rest."""

import getpass
import os
import socket
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from infra.store import open_store
from infra.store.cache import DEFAULT_GB
from infra.store.errors import InputError, StoreError
from infra.store.home import find_home


def _login() -> str:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        name = f"uid-{os.getuid()}"
    return f"{name}@{socket.gethostname()}"


class Settings(BaseSettings):
    """The machine's side of a run. Nothing here bears on a result; reading it creates nothing on disk."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    home: Path = Field(default_factory=lambda: find_home(Path.cwd()), validation_alias="SLIPWAY_HOME")
    """Slipway's folder: the nearest `.slipway` upwards, else `~/.slipway`."""
    store_url: str | None = Field(default=None, validation_alias="SLIPWAY_STORE")
    """Where datasets, runs and models are kept; the folder `store` of the home by default."""
    cache: Path = Field(default_factory=lambda given: given["home"] / "cache", validation_alias="SLIPWAY_CACHE")
    """Where files of a store on S3 are kept on this machine; the folder `cache` of the home by default."""
    cache_gb: float = Field(default=DEFAULT_GB, gt=0, validation_alias="SLIPWAY_CACHE_GB")
    """What the cache may hold; what was longest unused goes first, and never what a living process uses."""
    mlflow_tracking_uri: str | None = Field(default=None, validation_alias="MLFLOW_TRACKING_URI")
    """The MLflow server; by default the one `slipway up` started, else SQLite in the home, without a server."""
    prefect_api_url: str | None = Field(default=None, validation_alias="PREFECT_API_URL")
    """The Prefect server; by default the one `slipway up` started, else a temporary one."""
    ray_address: str | None = Field(default=None, validation_alias="RAY_ADDRESS")
    """The Ray cluster; Ray on this machine by default."""
    lease_seconds: float = Field(default=60.0, gt=0, validation_alias="SLIPWAY_LEASE_SECONDS")
    """Seconds after which a silent holder of a lease on another machine is taken for dead."""
    user: str = Field(default_factory=_login, min_length=1, validation_alias="SLIPWAY_USER")
    """Who stands in the ledger for what is decided and deployed from here; the login and host by default."""

    @classmethod
    def load(cls) -> Self:
        """From the environment. Raises InputError naming every variable whose value is none."""
        try:
            return cls()
        except ValidationError as error:
            wrong = {str(found["loc"][0]): f"{found['input']!r}: {found['msg'].lower()}" for found in error.errors()}
            what = "; ".join(f"{name} is {problem}" for name, problem in wrong.items())
            raise InputError(what, where="environment", mend=f"Mend or unset {' and '.join(wrong)}.") from None

    def check_home(self) -> None:
        """Raises InputError unless the home can be written; leaves nothing behind."""
        try:
            open_store(str(self.home)).check_writable()
        except StoreError as error:
            what = f"the home {error.what.removeprefix('the store ')}"
            raise InputError(what, where=str(self.home), mend="Set SLIPWAY_HOME to a folder that can be written.") from None

    def model_post_init(self, context: object) -> None:
        for name in ("home", "cache"):
            object.__setattr__(self, name, getattr(self, name).expanduser().absolute())

    def environment(self) -> dict[str, str]:
        """The variables that say the same to a program started from elsewhere: every setting that has a value, paths in full."""
        said = {str(field.validation_alias): getattr(self, name) for name, field in type(self).model_fields.items()}
        if self.store_url is not None and "://" not in self.store_url:
            said["SLIPWAY_STORE"] = Path(self.store_url).expanduser().absolute()
        return {variable: str(value) for variable, value in said.items() if value is not None}

    @property
    def store(self) -> str:
        return self.store_url or str(self.home / "store")

    @property
    def tracking_uri(self) -> str:
        return self.mlflow_tracking_uri or f"sqlite:///{self.home / 'mlflow.db'}"

    @property
    def spool(self) -> Path:
        return self.home / "spool"

    @property
    def scratch(self) -> Path:
        return self.home / "tmp"
