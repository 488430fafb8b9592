"""Processes of ours on this machine: started to stay or to die with us, and stopped to the last child."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import psutil

from infra.store.liveness import Process, identify, is_alive

LOOPBACK = "127.0.0.1"
_MARK = "SLIPWAY_SERVICE"  # in the environment of a service and all its children: found again whatever became of their parent
_PARENT = "SLIPWAY_PARENT"  # in the environment of a child that ends with its parent: the parent's pid

# Runs before the program itself. The kernel forgets nobody: the signal comes however the parent ended, kill -9 included.
_TIED = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


def spawn_service(argv: Sequence[str], env: Mapping[str, str], log: Path, mark: str) -> Process:
    """Starts a process that outlives us: in a session of its own, its output in `log` (the earlier log becomes `<log>.1`).

    mark: a name by which `marked` finds the process and all its children again.
    """
    popen = _open(argv, {**env, _MARK: mark, _PARENT: ""}, log)
    # It outlives us, so nobody waits for it; if it dies before we do, this thread reaps it.
    threading.Thread(target=popen.wait, name=f"reap {popen.pid}", daemon=True).start()
    return identify(popen.pid) or Process(popen.pid, "", "")


def spawn_child(argv: Sequence[str], env: Mapping[str, str], log: Path) -> "subprocess.Popen[bytes]":
    """Starts a process that the kernel ends (SIGTERM) when we end, by whatever cause, and that a Ctrl-C of ours does not reach.

    argv: the program by its full path. Call it in the main thread: Linux watches the thread that started the child. The child
    should call `end_with_parent` too, which needs no Linux and follows a SIGTERM that does not help with a SIGKILL.
    """
    return _open([sys.executable, "-ISc", _TIED, str(os.getpid()), *argv], {**env, _PARENT: str(os.getpid())}, log)


def end_children_with_us() -> None:
    """Has every child of this process that calls `end_with_parent` end with it, whoever starts the child."""
    os.environ[_PARENT] = str(os.getpid())


def end_with_parent(grace: float = 3.0) -> None:
    """In a process started by `spawn_child`, or under `end_children_with_us`: ends it within a second of its parent's end.

    The hard way after `grace` seconds.
    """
    parent = int(os.environ.get(_PARENT) or 0)
    if not parent:
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="end with parent", daemon=True).start()


def lead_session() -> None:
    """Ends with who started this process, if they called `end_children_with_us`, and keeps its own children together."""
    os.setsid()
    end_with_parent()


def in_sessions(leaders: Collection[int]) -> list[psutil.Process]:
    """What runs in these sessions: the children of a leader, and theirs, also of one that is gone."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) in leaders and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (OSError, psutil.Error):
            continue
    return found


def marked(mark: str) -> list[psutil.Process]:
    """The living processes that carry this mark: a service and its children, also those whose parent is gone."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(_MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:  # gone meanwhile, or somebody else's
            continue
    return found


def family(process: Process) -> list[psutil.Process]:
    """The process with its children and theirs, and what else is in its process group; nothing when it is gone."""
    if not is_alive(process):
        return []
    try:
        leader = psutil.Process(process.pid)
        return list({leader, *leader.children(recursive=True), *_group(process.pid)})
    except psutil.NoSuchProcess:
        return []


def resident(processes: Iterable[psutil.Process]) -> int:
    """Bytes of memory that they hold together; those that are gone hold none."""
    total = 0
    for process in processes:
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total


def stop(processes: Iterable[psutil.Process], grace: float = 5.0) -> int:
    """Ends them: SIGTERM to all, and after `grace` seconds SIGKILL to those still there. Returns how many there were.

    Raises nothing for a process that is gone by itself.
    """
    ending = [process for process in processes if process.pid != os.getpid()]
    for process in ending:
        _signal(process, signal.SIGTERM)
    _, stubborn = psutil.wait_procs(ending, timeout=grace)
    for process in stubborn:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(stubborn, timeout=grace)
    return len(ending)


def reserve_port(preferred: int = 0) -> socket.socket:
    """A socket that holds a free port of the loopback address (`preferred`, when it is free) until it is closed.

    It does not listen, so on Linux a server with SO_REUSEADDR, which is asyncio's default, may take the port up meanwhile, and
    nobody who asks for just any port gets it. Elsewhere close it before the server starts.
    """
    held = _Held()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        if preferred:
            held.claim(preferred)
            if answers(preferred):
                raise OSError  # also a listener on every address counts as taken
        held.bind((LOOPBACK, preferred))
    except OSError:
        held.bind((LOOPBACK, 0))
    if sys.platform != "linux":
        held.close()
    return held


class _Held(socket.socket):
    """With SO_REUSEADDR two may bind a port on which nobody listens yet: a name that only one can have keeps the second away."""

    _name: socket.socket | None = None

    def claim(self, port: int) -> None:
        """Raises OSError when somebody else on this machine holds the port. The kernel frees the name with its holder."""
        if sys.platform == "linux":
            self._name = socket.socket(socket.AF_UNIX)
            self._name.bind(f"\0slipway-port-{port}")

    def close(self) -> None:
        if self._name is not None:
            self._name.close()
        super().close()


def free_port() -> int:
    """A port of the loopback address that is free at this moment; `reserve_port` also keeps it so."""
    with socket.socket() as found:
        found.bind((LOOPBACK, 0))
        return int(found.getsockname()[1])


def answers(port: int) -> bool:
    """Whether somebody accepts connections on this port of the loopback address."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=0.5).close()
    except OSError:
        return False
    return True


def last_line(log: Path) -> str:
    """The last line of a log that says something."""
    try:
        lines = log.read_text(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _open(argv: Sequence[str], env: Mapping[str, str], log: Path) -> "subprocess.Popen[bytes]":
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists():
        log.replace(log.with_name(f"{log.name}.1"))
    with log.open("ab") as output:
        return subprocess.Popen(
            list(argv),
            env=dict(env),
            cwd=log.parent,  # not where the user stands: a `.env` or `prefect.toml` there is not for our servers
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def _group(group: int) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group:
                found.append(process)
        except OSError:
            continue
    return found


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.Error:
        return
