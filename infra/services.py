"""The local services on loopback, started, stopped, healed, and told the truth about.

What was started stands in `<home>/services.json`. Each service and all its children carry a mark in their environment as
well, so that nothing gets lost when that file does, or when the first of its processes is killed.
"""

import json
import os
import socket
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import psutil

from infra import service_table
from infra.processes import LOOPBACK, answers, family, in_sessions, last_line, marked, reserve_port, resident, spawn_service, stop
from infra.service_table import Service
from infra.settings import Settings
from infra.store.errors import SlipwayError
from infra.store.liveness import Process, is_alive

SERVICES = service_table.SERVICES
_PATIENCE = 10.0  # seconds that a service at work may need for an answer before `up` takes it for stuck


class ServiceError(SlipwayError):
    """A local service does not come up."""

    code = "service"


@dataclass(frozen=True)
class Started:
    """A service as it was started."""

    port: int
    process: Process

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"


@dataclass(frozen=True)
class Endpoints:
    """Where the live services are; None for one that is not."""

    prefect_api_url: str | None
    mlflow_url: str | None
    started: tuple[str, ...] = ()
    """Which of them this call started."""


@dataclass(frozen=True)
class ServiceState:
    """The truth about one service. uptime: seconds; memory: bytes resident, with its children."""

    name: str
    state: Literal["running", "not answering", "dead", "not started"]
    url: str | None = None
    pid: int | None = None
    uptime: float | None = None
    memory: int | None = None
    log: str | None = None


def live_endpoints(home: Path) -> Endpoints | None:
    """The services that are alive and accept connections, or None. Takes milliseconds."""
    found = {name: started for name, started in _recorded(home).items() if is_alive(started.process) and answers(started.port)}
    return _endpoints(found) if found else None


def with_services(settings: Settings) -> Settings:
    """The settings with the live services filled in where the user named no server of their own."""
    live = live_endpoints(settings.home)
    if live is None:
        return settings
    update = {
        "prefect_api_url": settings.prefect_api_url or live.prefect_api_url,
        "mlflow_tracking_uri": settings.mlflow_tracking_uri or live.mlflow_url,
    }
    return settings.model_copy(update=update)


def up(settings: Settings, *, timeout: float = 180.0) -> Endpoints:
    """Starts what does not run, and replaces what is half dead; the ordinary ports where they are free, else others.

    Raises ServiceError with the log's last line when a service does not answer within `timeout` seconds; what came up stays.
    """
    with _alone(settings.home):
        recorded = _recorded(settings.home)
        missing = [service for service in SERVICES if not _works(service, recorded.get(service.name), patience=_PATIENCE)]
        before = dict(recorded)
        with _one_migration(settings, missing), ExitStack() as ports:
            for service in SERVICES:
                moved = any(_port(before, needed) != _port(recorded, needed) for needed in service.needs)
                if service not in missing:
                    if not moved:
                        continue
                    missing.append(service)
                stop(_processes(settings.home, service, recorded.get(service.name)))
                port = ports.enter_context(reserve_port(service.port))  # held until the service has taken it
                recorded[service.name] = _start(_beside(settings, service, recorded), service, port)
                _record(settings.home, recorded)
            for service in missing:
                _wait(settings.home, service, recorded[service.name], time.monotonic() + timeout)
        return _endpoints(recorded, started=tuple(service.name for service in missing))


def down(settings: Settings) -> list[str]:
    """Stops the services whatever state they are in; returns the names of those of which something still ran."""
    with _alone(settings.home):
        recorded = _recorded(settings.home)
        running = {service.name: _processes(settings.home, service, recorded.get(service.name)) for service in SERVICES}
        first = [service.name for service in SERVICES if service.needs]  # a run that is ended says so while Prefect still listens
        stop(process for name in first for process in running[name])
        stop(process for name, processes in running.items() if name not in first for process in processes)
        _path(settings.home).unlink(missing_ok=True)
        return [name for name, processes in running.items() if processes]


def state(settings: Settings) -> list[ServiceState]:
    """Each service as it is now. Changes nothing."""
    recorded = _recorded(settings.home)
    return [_state(settings.home, service, recorded.get(service.name)) for service in SERVICES]


def _state(home: Path, service: Service, started: Started | None) -> ServiceState:
    log = str(_log(home, service))
    running = _processes(home, service, started)
    if started is None:
        if not running:
            return ServiceState(service.name, "not started")
        return ServiceState(
            service.name, "not answering", pid=running[0].pid, memory=resident(running), log=log
        )  # its record was lost
    if not is_alive(started.process):
        page, pid = _page(service, started), started.process.pid
        return ServiceState(service.name, "dead", page, pid, memory=resident(running) or None, log=log)
    works = _works(service, started)
    uptime = time.time() - min((process.create_time() for process in running), default=time.time())
    word: Literal["running", "not answering"] = "running" if works else "not answering"
    return ServiceState(service.name, word, _page(service, started), started.process.pid, round(uptime, 1), resident(running), log)


def _page(service: Service, started: Started) -> str | None:
    return started.url if service.page else None


def _port(recorded: Mapping[str, Started], name: str) -> int:
    return recorded[name].port if name in recorded else 0


def _beside(settings: Settings, service: Service, recorded: Mapping[str, Started]) -> Settings:
    """The settings that a service which needs others is started with: these very ones, but a tracking server of the user's."""
    endpoints = _endpoints({name: recorded[name] for name in service.needs})
    update = {
        "prefect_api_url": endpoints.prefect_api_url,
        "mlflow_tracking_uri": settings.mlflow_tracking_uri or endpoints.mlflow_url,
    }
    return settings.model_copy(update=update) if service.needs else settings


def _start(settings: Settings, service: Service, held: socket.socket) -> Started:
    if held.fileno() < 0:
        mend = "Start the server yourself and name it in PREFECT_API_URL or MLFLOW_TRACKING_URI."
        raise ServiceError("local services work on Linux alone so far", where=service.name, mend=mend)
    port = int(held.getsockname()[1])
    argv, env = service.command(settings, port), service.environment(settings, port)
    return Started(port, spawn_service(argv, env, _log(settings.home, service), _mark(settings.home, service)))


def _wait(home: Path, service: Service, started: Started, deadline: float) -> None:
    log = _log(home, service)
    while not (_answers_health(service, started, seconds=5) and _listens(home, service, started)):
        gone = not is_alive(started.process)
        if gone or time.monotonic() > deadline:
            stop(_processes(home, service, started))
            what = f"{service.name} ended before it answered" if gone else f"{service.name} does not answer"
            raise ServiceError(
                f"{what}: {last_line(log)}",
                where=str(log),
                mend="Mend what the log says and run `slipway up` again; `slipway doctor` may find the reason.",
            )
        time.sleep(0.1)


def _listens(home: Path, service: Service, started: Started) -> bool:
    """Whether it is ours that answers: two homes whose services start at once may both have found the same port free."""
    for process in _processes(home, service, started):
        try:
            if any(
                each.laddr.port == started.port and each.status == psutil.CONN_LISTEN for each in process.net_connections("tcp")
            ):
                return True
        except psutil.Error:
            continue
    return False


def _works(service: Service, started: Started | None, patience: float = 2.0) -> bool:
    return started is not None and is_alive(started.process) and _answers_health(service, started, seconds=patience)


def _answers_health(service: Service, started: Started, *, seconds: float) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy of the user's does not know our loopback
    try:
        with direct.open(f"{started.url}{service.health}", timeout=seconds) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _processes(home: Path, service: Service, started: Started | None) -> list[psutil.Process]:
    """The service and all that it started: some children overwrite their mark, and are known by their session."""
    known = {*marked(_mark(home, service)), *(family(started.process) if started else ())}
    return list(known.union(in_sessions({process.pid for process in known})))


def _endpoints(found: Mapping[str, Started], started: tuple[str, ...] = ()) -> Endpoints:
    urls = {service.name: found[service.name].url + service.api for service in SERVICES if service.name in found}
    return Endpoints(urls.get("prefect"), urls.get("mlflow"), started)


def _recorded(home: Path) -> dict[str, Started]:
    """What `services.json` says; one that is damaged or cannot be read says nothing, and the marks find what it knew."""
    try:
        entries = json.loads(_path(home).read_text())["services"]
        return {name: Started(entry["port"], Process(**entry["process"])) for name, entry in entries.items()}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _record(home: Path, services: Mapping[str, Started]) -> None:
    document = {"format": 1, "services": {name: asdict(started) for name, started in services.items()}}
    temporary = _path(home).with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(document, indent=1))
    temporary.replace(_path(home))


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    from filelock import FileLock  # only `up` and `down` need it; every command loads this module

    try:
        (home / "logs").mkdir(parents=True, exist_ok=True)
        (home / "prefect").mkdir(exist_ok=True)
    except OSError as error:
        raise ServiceError(
            f"the folder cannot be written ({error.strerror})", where=str(home), mend="Set SLIPWAY_HOME to one that can."
        ) from None
    with FileLock(home / "services.lock"):
        yield


@contextmanager
def _one_migration(settings: Settings, missing: list[Service]) -> Iterator[None]:
    """Holds off, by infra.tracking's lock, who would make the tables of a fresh MLflow database while the server does."""
    from filelock import FileLock  # as above

    if not any(service.name == "mlflow" for service in missing) or (settings.home / "mlflow.db").exists():
        yield
        return
    with FileLock(settings.home / "mlflow.db.lock"):
        yield


def _path(home: Path) -> Path:
    return home / "services.json"


def _log(home: Path, service: Service) -> Path:
    return home / "logs" / f"{service.name}.log"


def _mark(home: Path, service: Service) -> str:
    return f"{home}:{service.name}"
