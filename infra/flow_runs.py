"""Flow runs on a Prefect server, and the processes that carry them out. Importing this loads nothing of Prefect.

A run is tagged with its host and process. Nobody else notices that a process was killed: who finds it dead marks its runs.
"""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from infra.processes import LOOPBACK
from infra.store.errors import InputError
from infra.store.liveness import Owner, Process, identify, myself

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State

_TAG: Final = "slipway"
_NOT_BEGUN: Final = ("SCHEDULED", "PENDING")
UNFINISHED: Final = (*_NOT_BEGUN, "RUNNING", "CANCELLING")
_PAGE: Final = 200  # the server's largest


def run_tags() -> list[str]:
    """By these tags it is known which process of which host carries a run out."""
    return [_TAG, *_tags_of(Owner.here())]


def retag(tags: Sequence[str]) -> list[str]:
    """A run's tags, now that this process carries it out: those of an earlier attempt's process are replaced."""
    return [*(tag for tag in tags if not tag.startswith(("host:", "pid:")) and tag != _TAG), *run_tags()]


def carried_by(tags: Sequence[str], owner: Owner) -> bool:
    """Whether it is this process whose tags a run has."""
    return {*_tags_of(owner)} <= {*tags}


def is_gone(tags: Sequence[str], *, shared: bool) -> bool:
    """Whether the process named in a run's tags has certainly ended; of one that cannot be seen from here: False.

    shared: other machines use this server too. One that has our name, and another boot, may be another machine then.
    """
    pid, _, known = _value(tags, "pid").partition("-")
    if _value(tags, "host") != socket.gethostname() or not pid.isdigit():
        return False
    _, boot, namespace = [*known.split("-"), "", "", ""][:3]
    me = myself()
    if boot != me.boot[:8]:
        return not shared
    process = identify(int(pid))
    return namespace == me.namespace and (process is None or _pid_tag(process) != f"pid:{pid}-{known}")


@contextmanager
def server() -> Iterator["SyncPrefectClient"]:
    """A client of the server in force. Raises InputError, within the block too, when it refuses us."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError

    try:
        with get_client(sync_client=True) as client:
            yield client
    except PrefectHTTPStatusError as error:
        if error.response.status_code not in (401, 403):
            raise
        raise InputError(
            f"the Prefect server refuses us ({error.response.status_code})",
            where=os.environ["PREFECT_API_URL"],
            mend="Set PREFECT_API_KEY, or PREFECT_API_AUTH_STRING, in the environment: profiles are not read.",
        ) from None


def end_gone() -> list[str]:
    """Marks the runs as crashed whose process on this host is gone (kill -9, power cut). Returns their names.

    One that somebody had asked to cancel is cancelled. Needs a server that answers.
    """
    with server() as client:
        return [run.name for run in gone(client) if mark_ended(client, run)]


def gone(client: "SyncPrefectClient") -> list["FlowRun"]:
    """The runs that say they are at work, and whose process is certainly dead."""
    shared = urlsplit(os.environ.get("PREFECT_API_URL", "")).hostname not in (LOOPBACK, "localhost")
    return [run for run in at_work(client) if is_gone(run.tags, shared=shared)]


def at_work(client: "SyncPrefectClient") -> list["FlowRun"]:
    """The runs of ours that a process carries out by their own word, on any host.

    One of a deployment that has not begun has no process yet: the tags that it may have are of an earlier attempt.
    """
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort

    ours = FlowRunFilter.model_validate({"tags": {"all_": [_TAG]}, "state": {"type": {"any_": list(UNFINISHED)}}})
    found: list[FlowRun] = []
    while page := client.read_flow_runs(flow_run_filter=ours, sort=FlowRunSort.ID_DESC, limit=_PAGE, offset=len(found)):
        found += page
    return [run for run in found if run.state_type not in _NOT_BEGUN or run.deployment_id is None]


def mark_ended(client: "SyncPrefectClient", run: "FlowRun", why: str = "") -> bool:
    """Sets the state of a run, and of its tasks, whose process is gone; with it go the slots that it holds on the server.

    why: instead of the plain words. Looks once more, now that the process can change nothing: False for a run that had ended
    by itself, or that another process has taken up.
    """
    from prefect.states import Cancelled, Crashed

    now = client.read_flow_run(run.id)
    if now.state is None or now.state.is_final() or _value(now.tags, "pid") != _value(run.tags, "pid"):
        return False
    pid = _value(run.tags, "pid").partition("-")[0]
    who = f"Process {pid} on {_value(run.tags, 'host') or socket.gethostname()}" if pid else "Its process"
    cancelling = now.state.is_cancelling()

    def ended() -> "State[None]":
        if cancelling:
            return Cancelled(message=f"{who} ended before it could confirm.")
        return Crashed(message=why or f"{who} ended without a word: it was killed, or the machine went down.")

    for task in _tasks_at_work(client, run.id):
        client.set_task_run_state(task, ended(), force=True)
    client.set_flow_run_state(run.id, ended(), force=True)
    return True


def _tasks_at_work(client: "SyncPrefectClient", run: "UUID") -> list["UUID"]:
    from prefect.client.schemas.filters import FlowRunFilter, TaskRunFilter
    from prefect.client.schemas.sorting import TaskRunSort

    tasks = client.read_task_runs(
        flow_run_filter=FlowRunFilter.model_validate({"id": {"any_": [run]}}),
        task_run_filter=TaskRunFilter.model_validate({"state": {"type": {"any_": list(UNFINISHED)}}}),
        sort=TaskRunSort.ID_DESC,
        limit=_PAGE,
    )
    return [task.id for task in tasks]


def _value(tags: Sequence[str], key: str) -> str:
    return next((tag.removeprefix(f"{key}:") for tag in tags if tag.startswith(f"{key}:")), "")


def _tags_of(owner: Owner) -> list[str]:
    return [f"host:{owner.host}", _pid_tag(owner.process)]


def _pid_tag(process: Process) -> str:
    known = (process.started, process.boot[:8], process.namespace)
    return f"pid:{process.pid}-{'-'.join(known)}".rstrip("-")
