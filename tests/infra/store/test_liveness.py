"""A process is known beyond its pid, so that nobody living is taken for dead, and no later process for an earlier one."""

import socket
import subprocess
import sys
import time
from dataclasses import asdict, replace

import psutil

from infra.store.liveness import Owner, identify, is_alive, myself


def test_a_later_process_with_the_same_pid_is_not_taken_for_the_recorded_one() -> None:
    me = myself()
    assert is_alive(me)
    assert not is_alive(replace(me, started="1"))
    assert not is_alive(replace(me, boot="another boot"))


def test_a_dead_process_that_nobody_reaped_is_dead() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    deadline = time.monotonic() + 10
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.01)
    assert identify(process.pid) is None
    process.wait()


def test_nobody_here_declares_a_process_of_another_host_dead() -> None:
    gone = replace(myself(), pid=2**22 + 1, started="1")
    assert Owner(socket.gethostname(), gone).is_gone()
    assert not Owner("elsewhere", gone).is_gone()


def test_nor_one_of_another_container_that_shares_the_kernel_and_the_name() -> None:
    hidden = replace(myself(), pid=2**22 + 1, started="1", namespace="4026599999")
    assert not Owner(socket.gethostname(), hidden).is_gone()
    assert Owner(socket.gethostname(), replace(hidden, boot="an earlier boot")).is_gone()


def test_an_owner_survives_being_written_down() -> None:
    assert Owner.read(asdict(Owner.here())) == Owner.here()
    assert not Owner.here().is_gone()
