"""One way to reach MLflow: quiet, without telemetry, never waiting for minutes, never two migrations of one database at once."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from filelock import FileLock

from infra.store.errors import InputError

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

# A server that is down is an answer, not a reason to wait: MLflow's own defaults are 7 retries of 120 s. The one retry is for a
# connection that the server closed while it was idle.
_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # standard output is for our document alone
}
_PROBE_SECONDS = 3.0


class TrackingError(InputError):
    """MLflow cannot be reached, or says no."""

    code = "tracking"


def connect(tracking_uri: str) -> "MlflowClient":
    """A client for tracking and registry, the database's tables made if need be. The first call of a process takes seconds.

    Raises TrackingError within seconds when nothing answers at `tracking_uri`.
    """
    prepare_environment()
    _probe(tracking_uri)
    from mlflow.tracking import MlflowClient  # 3 to 5 s: loads pandas

    with errors(tracking_uri), _first_connection(tracking_uri):
        client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
        client.search_experiments(max_results=1)
    return client


def prepare_environment() -> None:
    """Settings that MLflow reads from the environment; what the user set stays, telemetry is off in any case."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    if os.environ.keys() & {"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"}:  # a server of one's own seldom has a name for each bucket
        os.environ.setdefault("MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE", "path")


def shown(tracking_uri: str) -> str:
    """The address without the user and password it may carry."""
    parts = urlsplit(tracking_uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else tracking_uri


@contextmanager
def errors(tracking_uri: str) -> Iterator[None]:
    """MLflow's and its database's exceptions as TrackingError, in one sentence without a traceback."""
    from mlflow.exceptions import MlflowException  # heavy, and loaded by then
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if "out-of-date database schema" in reason:
            mend = f"Take a copy of the database, then run: mlflow db upgrade {shown(tracking_uri)}"
        elif "failed with exception" in reason:  # MLflow's words for a request that got no answer
            raise _unreachable(tracking_uri, "it does not answer") from None
        else:
            mend = "Look at MLFLOW_TRACKING_URI and the server's log."
        raise TrackingError(f"MLflow refuses: {reason}", where=shown(tracking_uri), mend=mend) from None


def _probe(tracking_uri: str) -> None:
    parts = urlsplit(tracking_uri)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname, port), timeout=_PROBE_SECONDS).close()
    except OSError as error:
        raise _unreachable(tracking_uri, error.strerror or str(error)) from None


def _unreachable(tracking_uri: str, reason: str) -> TrackingError:
    return TrackingError(
        f"the MLflow server cannot be reached ({reason})",
        where=shown(tracking_uri),
        mend="Start it (`slipway up`), or unset MLFLOW_TRACKING_URI to work on the local database.",
    )


@contextmanager
def _first_connection(tracking_uri: str) -> Iterator[None]:
    """Two processes that both find a fresh SQLite database would both migrate it, and one would crash: one at a time."""
    name = tracking_uri.removeprefix("sqlite:///").partition("?")[0]
    if not tracking_uri.startswith("sqlite:///") or name in ("", ":memory:"):
        yield
        return
    database = Path(name)
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(database.with_name(f"{database.name}.lock"), timeout=120):
        yield
