"""Flows need a Prefect server: a temporary one of our own, or one that is there. Importing this loads nothing of Prefect.

Call `prepare_environment` before the first import of Prefect, `start_embedded` early and its `wait` late: the server takes
7 CPU-seconds to come up, and whatever is done meanwhile costs nothing.
"""

import atexit
import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from infra import prefect_server
from infra.flow_runs import UNFINISHED, run_tags
from infra.processes import LOOPBACK, free_port, last_line, reserve_port, spawn_child
from infra.store.errors import InputError, SlipwayError


class OrchestratorError(SlipwayError):
    """Our own temporary Prefect server does not work."""

    code = "orchestrator"


@dataclass
class Embedded:
    """A temporary server of this command; it ends with it, whatever ends it."""

    api_url: str
    log: Path
    process: "subprocess.Popen[bytes]"
    port: socket.socket
    owner: int = field(default_factory=os.getpid)

    def wait(self, timeout: float = 180.0) -> None:
        """Returns once the server answers; raises OrchestratorError, with its log's last line, when it ends or stays silent."""
        deadline = time.monotonic() + timeout
        while not _healthy(self.api_url, seconds=5):
            if self.process.poll() is not None:
                raise self._failed("Prefect's temporary server ended before it answered")
            if time.monotonic() > deadline:
                raise self._failed(f"Prefect's temporary server did not answer within {timeout:.0f} seconds")
            time.sleep(0.05)
        self.port.close()

    def stop(self) -> None:
        if self.owner != os.getpid() or self.process.poll() is not None:  # a forked child does not own it
            return
        self._settle()
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _settle(self, patience: float = 3.0, quiet: float = 0.2) -> None:
        """Waits until the server has written what it was told last: states of task runs reach it as events, in its memory."""
        deadline, before = time.monotonic() + patience, -1
        try:
            while time.monotonic() < deadline:
                now = self._count_task_runs()
                if now == before and self._count_task_runs(UNFINISHED) == 0:
                    return
                before = now
                time.sleep(quiet)
        except (OSError, ValueError):  # it never came up, or is stuck: there is nothing to wait for
            return

    def _count_task_runs(self, states: Sequence[str] = ()) -> int:
        filters: dict[str, Any] = {"flow_runs": {"tags": {"all_": run_tags()}}}
        if states:
            filters["task_runs"] = {"state": {"type": {"any_": list(states)}}}
        headers = {"Content-Type": "application/json"}
        question = urllib.request.Request(f"{self.api_url}/task_runs/count", json.dumps(filters).encode(), headers)
        with urllib.request.urlopen(question, timeout=3) as answer:
            return int(json.load(answer))

    def _failed(self, what: str) -> OrchestratorError:
        said = last_line(self.log)
        return OrchestratorError(
            f"{what}: {said}" if said else what, where=str(self.log), mend="`slipway doctor` checks what it needs."
        )


@dataclass(frozen=True)
class Live:
    """A server that is there already."""

    api_url: str

    def wait(self, timeout: float = 10.0, patience: float = 0.0) -> None:
        """Raises InputError when the server does not answer in time; it is asked again and again for `patience` seconds."""
        deadline = time.monotonic() + patience
        while not _healthy(self.api_url, seconds=timeout):
            if time.monotonic() < deadline:
                time.sleep(0.1)
                continue
            raise InputError(
                "no Prefect server answers",
                where=self.api_url,
                mend="Start it (`slipway up` starts one here), or unset PREFECT_API_URL to work without.",
            )


_embedded: list[Embedded] = []


# At the import of this module, so before Prefect registers anything: what is registered last is called first, and Prefect's
# threads, which have a last word for the server, end before it. The other way round the end of a command hangs for a minute.
@atexit.register
def _stop_embedded() -> None:
    for server in _embedded:
        server.stop()


def prepare_environment(home: Path) -> None:
    """Keeps the user's own Prefect (profile, account, database) out of our flows, and Prefect off our terminal.

    A PREFECT_API_URL in the environment is the user's word: then the credentials beside it stay. Writes nothing to disk.
    """
    env, folder = os.environ, home / "prefect"
    if "PREFECT_API_URL" not in env:
        for name in ("PREFECT_API_KEY", "PREFECT_API_AUTH_STRING"):
            env.pop(name, None)
    env.pop("PREFECT_PROFILE", None)
    env["PREFECT_HOME"] = str(folder if folder.is_dir() else tempfile.gettempdir())  # importing Prefect would make the folder
    env["PREFECT_PROFILES_PATH"] = str(folder / "profiles.toml")
    env["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] = "false"
    env["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
    env["PREFECT_RESULTS_PERSIST_BY_DEFAULT"] = "false"  # reuse is decided by stage records alone
    env["DO_NOT_TRACK"] = "1"
    env.setdefault("PREFECT_LOGGING_SETTINGS_PATH", str(Path(__file__).with_name("prefect_logging.yml")))


def start_embedded(home: Path) -> Embedded:
    """Starts a temporary server and returns at once. Each command has its own; all write to the one database of the home.

    One server for two commands would end with the first of them. SQLite in WAL mode is made for several processes, and the
    server's state that is not in the database concerns only the runs of its own command.
    """
    prepare_environment(home)
    port = reserve_port()
    number = port.getsockname()[1] if port.fileno() >= 0 else free_port()
    api_url, log = f"http://{LOOPBACK}:{number}/api", home / "logs" / "prefect-server.log"
    _point_at(home, api_url)
    process = spawn_child(prefect_server.command(number), prefect_server.environment(home, number, temporary=True), log)
    server = Embedded(api_url, log, process, port)
    _embedded.append(server)
    return server


def connect(home: Path, api_url: str) -> Live:
    """Makes the flows of this process run under a server that is there."""
    prepare_environment(home)
    _point_at(home, api_url)
    return Live(api_url)


def run_flow(flow: Callable[..., Any], *args: Any, embedded: bool, tags: Sequence[str] = ()) -> Any:
    """Calls a Prefect flow, tagged as ours. Its exceptions come through as they are, KeyboardInterrupt too."""
    from prefect.context import tags as tagged
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    _log_warnings()
    # Heartbeats are for a server that outlives us; waiting for their thread costs each flow up to a second at its end.
    changed = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None} if embedded else {}
    with temporary_settings(updates=changed), tagged(*run_tags(), *tags):
        return flow(*args)


def _point_at(home: Path, api_url: str) -> None:
    (home / "prefect").mkdir(parents=True, exist_ok=True)
    (home / "logs").mkdir(exist_ok=True)
    os.environ["PREFECT_HOME"] = str(home / "prefect")
    os.environ["PREFECT_API_URL"] = api_url
    if urlsplit(api_url).hostname in (LOOPBACK, "localhost"):
        known = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(
            dict.fromkeys([*filter(None, known.split(",")), LOOPBACK, "localhost"])
        )
    if "prefect.context" in sys.modules:
        from prefect.context import refresh_global_settings_context  # it was imported with other settings, for a plan

        refresh_global_settings_context()


def _log_warnings() -> None:
    logger = logging.getLogger("prefect")
    if not any(isinstance(handler, RotatingFileHandler) for handler in logger.handlers):
        path = Path(os.environ["PREFECT_HOME"]).parent / "logs" / "flows.log"
        handler = RotatingFileHandler(path, maxBytes=1_000_000, backupCount=1, delay=True)
        handler.setLevel(logging.WARNING)
        handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)


def _healthy(api_url: str, *, seconds: float) -> bool:
    try:
        with urllib.request.urlopen(f"{api_url.rstrip('/')}/health", timeout=seconds) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        return error.code in (401, 403)  # it is there; whether it takes us is another question
    except (OSError, ValueError):
        return False
