"""The worker: what Prefect's pages can start, and the process that starts it, here. Everything in it loads Prefect."""

import asyncio
import shlex
import socket
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import anyio
from anyio.abc import TaskStatus
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate, WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import FlowRunFilter, WorkPoolFilter
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.schedules import CronSchedule
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import Scheduled
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult

from infra.flow_runs import is_gone, mark_ended
from infra.processes import end_children_with_us, in_sessions, stop
from infra.store.fingerprint import fingerprint

POOL: Final = "slipway"
_AT_ONCE: Final = 4  # runs: a review is answered while a training runs, and a laptop's memory holds them
_PAGE: Final = 200  # the server's largest; there are hardly more than ran at once


@dataclass(frozen=True)
class Deployment:
    """A flow that can be started with a form.

    entrypoint: the flow object's module path. form: the JSON schema of its parameters. parameters: what the form is filled in
    with. cron: a schedule that stands there switched off, until somebody switches it on.
    """

    flow: str
    entrypoint: str
    description: str
    form: Mapping[str, Any]
    parameters: Mapping[str, Any]
    cron: str = ""


def register(deployments: Sequence[Deployment], command: Sequence[str], folder: Path) -> None:
    """Puts the deployments, each named as its flow, and their pool on the server. What somebody changed there stays.

    command: carries out one run, which the variable PREFECT__FLOW_RUN_ID names; it is started in `folder`, and begins with
    `infra.processes.lead_session`.
    """
    with get_client(sync_client=True) as client:
        _put_pool(client, shlex.join(command), folder)
        for deployment in deployments:
            _put(client, deployment)


def recover() -> list[str]:
    """Runs that an earlier worker took and never told who carries them out. Returns their names.

    One that had not begun is begun again; one that had is over. For the only worker of the pool, before it starts.
    """
    left = {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}}
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_run_filter=FlowRunFilter.model_validate(left),
            work_pool_filter=WorkPoolFilter.model_validate({"name": {"any_": [POOL]}}),
            sort=FlowRunSort.ID_DESC,
            limit=_PAGE,
        )
        lost = [run for run in runs if _begun_by_nobody(run) or not any(tag.startswith("pid:") for tag in run.tags)]
        for run in lost:
            if _is_pending(run):
                client.set_flow_run_state(run.id, Scheduled(message="Its worker was gone before it began."), force=True)
            else:
                mark_ended(client, run)
    return [run.name for run in lost]


def _is_pending(run: FlowRun) -> bool:
    return run.state is not None and run.state.is_pending()


def _begun_by_nobody(run: FlowRun) -> bool:
    """Whether the process that was to begin it is gone; one at work whose process is gone is `infra.flow_runs`'s to end."""
    return _is_pending(run) and is_gone(run.tags, shared=True)


def work() -> None:
    """Starts runs as they are asked for, for ever. A run ends with this process, and what it started with it."""
    end_children_with_us()
    worker = _Worker(work_pool_name=POOL, name=socket.gethostname(), limit=_AT_ONCE, create_pool_if_not_found=False)
    asyncio.run(worker.start(with_healthcheck=True))


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Prefect would rather have a new type of worker; this is its own, with a clean end

    class _Worker(ProcessWorker):
        """Prefect ends the process of a run and leaves that one's children: here they end too."""

        async def run(
            self, flow_run: FlowRun, configuration: ProcessJobConfiguration, task_status: TaskStatus[int] | None = None
        ) -> ProcessWorkerResult:
            status = _Noted(task_status or anyio.TASK_STATUS_IGNORED)
            try:
                return await super().run(flow_run, configuration, cast("TaskStatus[int]", status))
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(_end_session, status.pid)


class _Noted:
    """Tells who waits for the start of a run, and keeps the pid."""

    def __init__(self, told: TaskStatus[int]) -> None:
        self._told, self.pid = told, 0

    def started(self, value: int) -> None:
        self.pid = value
        self._told.started(value)


def _end_session(leader: int) -> None:
    """A run leads a session. A server that it deployed, or who ships its metrics, has another and stays."""
    if leader:
        stop(in_sessions({leader}))


def _put_pool(client: SyncPrefectClient, command: str, folder: Path) -> None:
    template = ProcessWorker.get_default_base_job_template()
    variables = template["variables"]["properties"]
    variables["command"]["default"], variables["working_dir"]["default"] = command, str(folder)
    try:
        client.read_work_pool(POOL)
    except ObjectNotFound:
        description = "Runs on this machine, by the worker of `slipway up`."
        pool = WorkPoolCreate(name=POOL, type=ProcessWorker.type, description=description, base_job_template=template)
        client.create_work_pool(pool)
    else:
        client.update_work_pool(POOL, WorkPoolUpdate(base_job_template=template))


def _put(client: SyncPrefectClient, deployment: Deployment) -> None:
    parameters = dict(deployment.parameters)
    version = fingerprint(parameters)[:12]  # of what the form was filled in with by us: so what somebody changed is known
    ours: dict[str, Any] = {
        "description": deployment.description,
        "entrypoint": deployment.entrypoint,
        "parameter_openapi_schema": dict(deployment.form),
        "enforce_parameter_schema": True,
        "work_pool_name": POOL,
        "version": version,
    }
    try:
        there = client.read_deployment_by_name(f"{deployment.flow}/{deployment.flow}")
    except ObjectNotFound:
        flow = client.create_flow_from_name(deployment.flow)
        schedules = [
            DeploymentScheduleCreate(schedule=CronSchedule(cron=deployment.cron), active=False, slug="nightly")
            for _ in range(bool(deployment.cron))
        ]
        client.create_deployment(flow, deployment.flow, parameters=parameters, schedules=schedules, pull_steps=[], **ours)
        return
    if fingerprint(there.parameters)[:12] != there.version:
        ours |= {"version": there.version}  # filled in by somebody
    else:
        ours |= {"parameters": parameters}
    client.update_deployment(there.id, DeploymentUpdate.model_validate(ours))
