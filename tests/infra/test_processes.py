"""Processes: none is confused with another, none is left behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from infra.processes import LOOPBACK, family, last_line, marked, reserve_port, spawn_service, stop
from infra.store.liveness import Process, identify, is_alive

CHILD = """
import signal, sys, time
from infra.processes import end_with_parent
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end_with_parent(grace=0.5)
print("ready", flush=True)
time.sleep(60)
"""
PARENT = """
import os, sys, time
from pathlib import Path
from infra.processes import spawn_child
child = spawn_child([sys.executable, "-c", sys.argv[1], *sys.argv[3:]], os.environ, Path(sys.argv[2]))
print(child.pid, flush=True)
time.sleep(60)
"""
# A service as real ones are: its child, which does the work, is in a session of its own.
SERVICE = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "print('at work', flush=True); import time; time.sleep(60)"], start_new_session=True)
time.sleep(60)
"""


def until(true: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    return true()


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[str]:
    yield str(tmp_path)
    stop(marked(str(tmp_path)), grace=0.5)


@pytest.mark.parametrize("kind", ["obedient", "stubborn"])
def test_a_child_is_gone_three_seconds_after_its_parent_was_killed(tmp_path: Path, kind: str) -> None:
    log = tmp_path / "child.log"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, CHILD, str(log), kind], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    try:
        assert until(lambda: last_line(log) == "ready")
        parent.kill()
        parent.wait()
        assert until(lambda: identify(child) is None, seconds=3)
    finally:
        if identify(child):
            os.kill(child, signal.SIGKILL)


def test_ctrl_c_does_not_reach_a_child_that_must_hear_the_last_word(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    command = [sys.executable, "-c", PARENT, CHILD, str(log)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert os.getpgid(child) != os.getpgid(parent.pid)
    os.killpg(parent.pid, signal.SIGINT)  # as a terminal does
    assert parent.wait(20) != 0
    assert until(lambda: identify(child) is None, seconds=3)


def test_stopping_a_service_ends_children_that_left_its_session(tmp_path: Path, mark: str) -> None:
    service = spawn_service([sys.executable, "-c", SERVICE], os.environ, tmp_path / "log", mark)
    assert until(lambda: last_line(tmp_path / "log") == "at work")
    assert len(family(service)) == 2
    assert not family(replace(service, started="1"))  # a later process of the same pid
    assert stop(family(service)) == 2
    assert not is_alive(service)
    assert not marked(mark)


def test_a_service_whose_first_process_was_killed_is_still_found(tmp_path: Path, mark: str) -> None:
    service = spawn_service([sys.executable, "-c", SERVICE], os.environ, tmp_path / "log", mark)
    assert until(lambda: last_line(tmp_path / "log") == "at work")
    os.kill(service.pid, signal.SIGKILL)
    assert until(lambda: not is_alive(service))
    assert len(marked(mark)) == 1
    assert stop(marked(mark)) == 1
    assert not marked(mark)


def test_a_process_that_ignores_the_polite_signal_is_ended_anyway(tmp_path: Path, mark: str) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    service = spawn_service([sys.executable, "-c", code], os.environ, tmp_path / "log", mark)
    assert until(lambda: last_line(tmp_path / "log") == "deaf")
    assert stop(family(service), grace=0.3) == 1
    assert not is_alive(service)


def test_the_log_of_the_time_before_is_kept(tmp_path: Path, mark: str) -> None:
    log = tmp_path / "log"
    for word in ("first", "second"):
        spawn_service([sys.executable, "-c", f"print('{word}')"], os.environ, log, mark)
        assert until(lambda expected=word: last_line(log) == expected)  # type: ignore[misc]
    assert last_line(tmp_path / "log.1") == "first"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a port cannot be held and be taken up")
def test_a_reserved_port_goes_to_nobody_but_our_server() -> None:
    with reserve_port() as held:
        port = held.getsockname()[1]
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind((LOOPBACK, port))
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((LOOPBACK, port))
            server.listen()
            with reserve_port(port) as other:
                assert other.getsockname()[1] != port


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a port cannot be held and be taken up")
def test_of_two_who_reserve_a_port_on_which_nobody_listens_yet_one_gets_it() -> None:
    with reserve_port() as free:
        port = free.getsockname()[1]
    with reserve_port(port) as first, reserve_port(port) as second:
        assert first.getsockname()[1] == port
        assert second.getsockname()[1] != port
    with reserve_port(port) as again:
        assert again.getsockname()[1] == port


def test_a_process_without_a_start_time_is_never_alive() -> None:
    assert not is_alive(Process(os.getpid(), "", ""))
