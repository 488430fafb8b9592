"""Flow runs and their processes: the dead are told from the living, and from those that cannot be seen from here."""

import os
import socket
from dataclasses import replace

from infra.flow_runs import carried_by, is_gone, retag, run_tags
from infra.store.liveness import Owner, myself


def tags(**other: object) -> list[str]:
    """As a run has them whose process differs from this one in `other`."""
    process = replace(myself(), **other)  # type: ignore[arg-type]
    known = f"{process.pid}-{process.started}-{process.boot[:8]}-{process.namespace}"
    return ["slipway", f"host:{socket.gethostname()}", f"pid:{known}"]


def test_a_run_is_known_by_host_process_and_the_moment_it_started() -> None:
    assert run_tags() == tags()
    assert carried_by(["drill", *run_tags()], Owner.here())
    assert not carried_by(tags(started="1"), Owner.here())
    assert not is_gone(run_tags(), shared=True)
    assert is_gone(tags(started="1"), shared=True)
    assert is_gone(tags(pid=2**22 + 1), shared=True)


def test_a_process_that_cannot_be_seen_from_here_is_never_called_gone() -> None:
    dead = tags(pid=2**22 + 1)
    elsewhere = [tag.replace(f"host:{socket.gethostname()}", "host:elsewhere") for tag in dead]
    assert not is_gone(elsewhere, shared=False)
    assert not is_gone(tags(pid=2**22 + 1, namespace="4026599999"), shared=False)
    assert not is_gone(["slipway", f"host:{socket.gethostname()}"], shared=False)


def test_after_a_restart_the_runs_of_this_machine_are_gone_and_a_namesake_may_live() -> None:
    before = tags(boot="another-boot")
    assert is_gone(before, shared=False)
    assert not is_gone(before, shared=True)


def test_who_takes_a_run_up_again_puts_itself_in_the_place_of_the_dead() -> None:
    assert retag(["nightly", *tags(pid=os.getpid() + 1)]) == ["nightly", *run_tags()]
