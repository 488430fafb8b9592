"""Ray for the length of a block: a cluster of our own on this machine, or one that is there already. Ours ends with the block.

Ray listens on every address of the machine, whatever one asks for: our cluster answers only to who has its random token.
"""

import json
import logging
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import psutil
import ray
from ray._private import ray_constants
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]  # compiled, without stubs
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from infra.store.code import installed, not_ours
from infra.store.errors import InputError, SlipwayError
from infra.store.liveness import Owner

_OBJECT_STORE_BYTES: Final = 200_000_000  # ours go through the store: Ray keeps small messages alone
_TRAIN: Final = {  # Ray Train reads its switches from the driver's environment
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "20",  # for room that the cluster seems to have, before it is looked at again
}
_TRAIN_ALONE: Final = {  # a third off the time to the first step, and 4 s off the end, where nobody shares the cluster
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_METRICS_ENABLED": "0",
}
_GRACE_SECONDS: Final = 5.0
_KNOCK_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 60.0


class ClusterError(SlipwayError):
    """Ray did not start, or fell over."""

    code = "cluster"


def connect(address: str | None, *, cpus: int, home: Path) -> AbstractContextManager[None]:
    """Connects this process to Ray for the length of the block.

    address: a cluster's `host:port`, or None for a new one on this machine with room for `cpus` workers, known to this
    process alone. Its files lie in a short folder under /tmp; `home` remembers it, so that the next call from the same
    home ends what a killed process left. After an error in the block its logs stay until then. Raises InputError when
    nothing answers at `address`, ClusterError when Ray does not start.
    """
    return _embedded(cpus, home) if address is None else joined(address)


def check_address(address: str) -> None:
    """Raises InputError, within seconds, when nobody listens at `host:port`: Ray itself knocks for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise InputError(
            "that is no address of a Ray cluster",
            where=f"RAY_ADDRESS={address}",
            mend="Give the host and port of its head, such as 10.0.0.7:6379, or unset it to train on this machine.",
        )
    try:
        socket.create_connection((host, int(port)), timeout=_KNOCK_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _silent(address, error) from None


def _silent(address: str, error: Exception) -> InputError:
    mend = "Start the cluster, set RAY_AUTH_MODE and RAY_AUTH_TOKEN as it has them, or unset RAY_ADDRESS to train on this machine."
    return InputError(f"no Ray cluster answers there ({reason_of(error)})", where=f"RAY_ADDRESS={address}", mend=mend)


@contextmanager
def _embedded(cpus: int, home: Path) -> Iterator[None]:
    records = home / "ray"
    _end_strays(records)
    folder = _short_folder()
    record = records / f"{folder.name}.json"
    _remember(record, folder)
    failed = False
    try:
        _start(cpus, folder)
        with _environment(_TRAIN | _TRAIN_ALONE):
            yield
    except Exception:
        failed = True
        raise
    finally:
        _stop(folder)
        if failed:
            _remember(record, folder, ended=True)
        else:
            _forget(record, folder)


def _start(cpus: int, folder: Path) -> None:
    try:
        with _environment(_settings()):
            _initialise(
                address="local",
                num_cpus=cpus,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                _node_ip_address="127.0.0.1",
                _temp_dir=str(folder),
            )
    except Exception as error:
        raise ClusterError(f"Ray did not start ({reason_of(error)})", where=str(folder), mend="Its logs there say why.") from error


@contextmanager
def joined(address: str) -> Iterator[None]:
    """Connects this process to the cluster at `host:port` for the length of the block. Raises InputError when nothing answers."""
    check_address(address)
    try:
        with _environment({"RAY_BACKEND_LOG_LEVEL": "error"}):  # else it says each second of twenty that a token is wrong
            _initialise(address=address)
    except Exception as error:
        raise _silent(address, error) from error
    try:
        _check_machines()
        with _environment(_TRAIN):
            yield
    finally:
        ray.shutdown()


def _check_machines() -> None:
    """Raises InputError naming the cluster's machines on which another Slipway is installed, or none."""
    nodes = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}  # type: ignore[no-untyped-call]
    ask = ray.remote(num_cpus=0)(_installed)
    asked = {
        ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(): nodes[node] for node in nodes
    }
    others = []
    for answer, host in asked.items():
        try:
            same = ray.get(answer, timeout=_ANSWER_SECONDS) == installed()
        except RayTaskError:  # it has no such module
            same = False
        except RayError:  # gone meanwhile, or cut off: no worker will start there, or it checks again
            continue
        if not same:
            others.append(host)
    if others:
        raise not_ours(sorted(others))


def _installed() -> str:
    return installed()  # Ray takes no function with a cache


def _initialise(**options: Any) -> None:
    ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = False  # under `uv run` each worker would install an environment of its own
    Config.initialize("")  # Ray keeps the first token it reads for the life of the process: have it read the environment again
    AuthenticationTokenLoader.instance().reset_cache()
    on_sigterm = signal.getsignal(signal.SIGTERM)
    ray._private.worker.listen_error_messages = _say_nothing  # type: ignore[assignment]  # it prints on our standard output
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)  # Ray takes it for itself: what a signal does is for the program to say


def _say_nothing(worker: Any, stopped: threading.Event) -> None:
    """In place of the thread that prints what Ray tells a driver: what a person has to know, the caller says."""


def _settings() -> dict[str, str]:
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_prestart_worker_first_driver": "0",  # workers with an environment of their own never use those started in advance
        "RAY_enable_worker_prestart": "0",
    }


def _short_folder() -> Path:
    """Unix sockets lie in it, whose paths may have 107 characters: a home's or a test's folder is often too long."""
    parent = "/tmp" if os.access("/tmp", os.W_OK) else None
    return Path(tempfile.mkdtemp(prefix="slipway-ray-", dir=parent))


def _remember(record: Path, folder: Path, *, ended: bool = False) -> None:
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps({"owner": asdict(Owner.here()), "folder": str(folder), "ended": ended}))


def _forget(record: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    record.unlink(missing_ok=True)


def _end_strays(records: Path) -> None:
    """Ends the clusters of processes that are gone, and removes the files of those that ended with an error."""
    for record in records.glob("*.json"):
        try:
            cluster = json.loads(record.read_text())
        except (FileNotFoundError, ValueError):  # another process is just removing or writing it
            continue
        owner = Owner.read(cluster["owner"])
        if not (owner.is_gone() or (cluster["ended"] and owner.is_here())):
            continue
        folder = Path(cluster["folder"])
        _end(folder, grace=0)
        _forget(record, folder)


def _stop(folder: Path) -> None:
    node = ray._private.worker.global_worker.node
    if node and any(kind in ("gcs_server", "raylet") for kind, _ in node.dead_processes()):
        _end(folder, grace=0)  # what is left waits for the head, Ray too
    try:
        ray.shutdown()
    finally:
        _end(folder, grace=_GRACE_SECONDS)


def _end(folder: Path, *, grace: float) -> None:
    """Ends every process of the cluster in `folder`, by pid, after `grace` seconds to end by itself."""
    psutil.wait_procs(_processes(folder), timeout=grace)
    deadline = time.monotonic() + _GRACE_SECONDS
    while (left := _processes(folder)) and time.monotonic() < deadline:  # again, for what one of them just started
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=_GRACE_SECONDS)


def _processes(folder: Path) -> list[psutil.Process]:
    """Those that write logs in `folder`, this one excepted. Names and environments tell nothing: Ray's processes overwrite both."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # gone meanwhile, or another user's
            logs = [
                file for file in process.open_files() if Path(file.path).is_relative_to(folder) and getattr(file, "mode", "") != "r"
            ]
            if logs and process.pid != os.getpid():
                found.append(process)
    return found


@contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in settings}
    os.environ |= settings
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def reason_of(error: Exception) -> str:
    """The first line of what an error says."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return said.strip().partition("\n")[0].rstrip(".")
