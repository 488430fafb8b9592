"""What `slipway up` starts: Prefect's server, MLflow's server, and the worker that runs what is started in Prefect's pages."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from infra import prefect_server
from infra.processes import LOOPBACK
from infra.settings import Settings
from infra.store import open_store

_POLL_SECONDS = "1"  # between two looks for runs to start: a form is answered at once; it takes 1 % of a core


@dataclass(frozen=True)
class Service:
    """How a service is started. `health` is the path that answers 200 when it works, `api` the one that programs are given.

    needs: the services whose addresses it is started with, as the settings that its command and environment get.
    page: whether there is something to look at under its own address.
    """

    name: str
    port: int
    health: str
    api: str
    command: Callable[[Settings, int], list[str]]
    environment: Callable[[Settings, int], dict[str, str]]
    needs: tuple[str, ...] = ()
    page: bool = True


def _mlflow_command(settings: Settings, port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "mlflow", "server", "--host", LOOPBACK, "--port", str(port), "--workers", "1"),
        *("--uvicorn-opts", "--log-level warning"),  # else a line a request, for months
        *("--backend-store-uri", f"sqlite:///{settings.home / 'mlflow.db'}"),
        *("--default-artifact-root", open_store(settings.store).uri("runs/mlflow"), "--no-serve-artifacts"),
    ]


def _mlflow_environment(settings: Settings, port: int) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    # Job execution is for MLflow's own judges; with it the server grows to 2.6 GB.
    return env | {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def _worker_environment(settings: Settings, port: int) -> dict[str, str]:
    """The user's own environment, with every setting said: a run that the worker starts stands where a command of now would."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return (
        env
        | settings.environment()
        | {
            "PREFECT_WORKER_WEBSERVER_HOST": LOOPBACK,
            "PREFECT_WORKER_WEBSERVER_PORT": str(port),
            "PREFECT_WORKER_QUERY_SECONDS": _POLL_SECONDS,
        }
    )


SERVICES: Final = (
    Service(
        "prefect", 4200, "/api/health", "/api",
        lambda settings, port: prefect_server.command(port),
        lambda settings, port: prefect_server.environment(settings.home, port, temporary=False),
    ),
    Service("mlflow", 5000, "/health", "", _mlflow_command, _mlflow_environment),
    Service(
        # Named, not imported: nothing here knows the flows.
        "worker", 0, "/health", "", lambda settings, port: [sys.executable, "-m", "flows.serve"], _worker_environment,
        needs=("prefect", "mlflow"), page=False,
    ),
)  # fmt: skip
