"""How a Prefect server of ours is run: on loopback, on SQLite in Slipway's home, with nothing of the user's own Prefect."""

import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from infra.processes import LOOPBACK, end_with_parent


def command(port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "uvicorn", "--factory", "infra.prefect_server:create_app"),
        *("--host", LOOPBACK, "--port", str(port)),
        *("--log-level", "warning", "--timeout-graceful-shutdown", "2", "--timeout-keep-alive", "10"),
    ]


def environment(home: Path, port: int, *, temporary: bool) -> dict[str, str]:
    """The server's environment: the user's own, without any of the user's settings of Prefect.

    temporary: a server for one command has no pages and no schedules; it may run beside others on the same database.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    folder = home / "prefect"
    env |= {
        "PREFECT_HOME": str(folder),
        "PREFECT_PROFILES_PATH": str(folder / "profiles.toml"),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder / 'prefect.db'}",
        "PREFECT_SERVER_DATABASE_TIMEOUT": "60",  # seconds for a lock: several servers may write to one database
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "DO_NOT_TRACK": "1",
        "PREFECT__SERVER_FINAL": "1",
    }
    if temporary:
        return env | {"PREFECT__SERVER_EPHEMERAL": "1", "PREFECT_UI_ENABLED": "false"}
    return env | {
        "PREFECT_API_URL": f"http://{LOOPBACK}:{port}/api",
        "PREFECT_UI_API_URL": f"http://{LOOPBACK}:{port}/api",  # else its pages look for port 4200
        "PREFECT_UI_STATIC_DIRECTORY": str(folder / "pages"),  # else they are unpacked into the installation
    }


def create_app() -> Any:
    """Prefect's server, ended with its parent where it has one, and migrating the database while nobody else does."""
    end_with_parent()
    from filelock import FileLock
    from prefect.server.api import server  # 5 s: everything of the server

    lock = FileLock(Path(os.environ["PREFECT_HOME"]) / "migration.lock")
    lock.acquire()
    app = server.create_app()
    app.router.lifespan_context = _releasing(app.router.lifespan_context, lock.release)
    return app


Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


def _releasing(lifespan: Lifespan, release: Callable[[], None]) -> Lifespan:
    """Two servers that both find a fresh database would both migrate it, and one would crash: one starts up at a time."""

    @asynccontextmanager
    async def started(app: Any) -> AsyncIterator[Any]:
        async with lifespan(app) as state:
            release()
            yield state

    return started
