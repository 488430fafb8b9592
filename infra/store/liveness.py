"""Which process is meant, and whether it still lives: a pid alone may belong to a later process, or to one before a reboot."""

import os
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

_PROC: Final = Path("/proc")


@dataclass(frozen=True)
class Process:
    """One process, never to be confused with a later one of the same pid.

    started: on Linux clock ticks since `boot`, the kernel's id of this boot; elsewhere the time of day, and no boot.
    namespace: in which the pid counts: two containers may share a kernel, and even a host's name, and cannot see each other.
    """

    pid: int
    started: str
    boot: str
    namespace: str = ""


def identify(pid: int | None = None) -> Process | None:
    """The process of this pid (by default ourselves), or None when there is none; one that ended but was not reaped is none."""
    pid = os.getpid() if pid is None else pid
    started = _started(pid)
    return None if started is None else Process(pid, started, _boot(), _namespace())


def myself() -> Process:
    """This process."""
    return identify() or Process(os.getpid(), "", _boot(), _namespace())


def is_alive(process: Process) -> bool:
    """Whether this very process still runs, here."""
    return identify(process.pid) == process


@dataclass(frozen=True)
class Owner:
    """A process on a host: who holds a lease, writes a spool, started a cluster."""

    host: str
    process: Process

    @classmethod
    def here(cls) -> Self:
        return cls(socket.gethostname(), myself())

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Self:
        """What `dataclasses.asdict` wrote."""
        return cls(fields["host"], Process(**fields["process"]))

    def is_here(self) -> bool:
        """Whether it can be seen from here, or could before the host was started again."""
        other = self.process.boot == _boot() and self.process.namespace != _namespace()
        return self.host == socket.gethostname() and not other

    def is_gone(self) -> bool:
        """Whether it ended, or the host was started again since; of one on another host or in another container: False."""
        return self.is_here() and not is_alive(self.process)

    def __str__(self) -> str:
        return f"process {self.process.pid} on {self.host}"


def _boot() -> str:
    path = _PROC / "sys/kernel/random/boot_id"
    return path.read_text().strip() if path.exists() else ""


def _namespace() -> str:
    path = _PROC / "self/ns/pid"
    return path.readlink().name.removeprefix("pid:[").removesuffix("]") if path.is_symlink() else ""


def _started(pid: int) -> str | None:
    if not (_PROC / "self/stat").exists():  # not Linux
        found = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
        state, _, started = found.stdout.strip().partition(" ")
        return started.strip() if state and not state.startswith("Z") else None
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]
