"""The worker's side of Prefect: what stands on the server, what somebody changed there, and what an earlier worker left."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra import orchestrator
from infra.processes import in_sessions
from infra.store.liveness import myself
from infra.worker import POOL, Deployment, _end_session, recover, register

FORM = {
    "type": "object",
    "title": "Parameters",
    "properties": {"recipe": {"type": "object", "title": "Recipe", "properties": {"steps": {"type": "integer", "minimum": 1}}}},
    "required": ["recipe"],
}
GREET = Deployment("greet", "flows.greet.greet", "Greets.", FORM, {"recipe": {"steps": 3}}, cron="0 3 * * *")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    before = dict(os.environ)
    server = orchestrator.start_embedded(tmp_path_factory.mktemp("worker") / "home")
    server.wait()
    from prefect.client.orchestration import get_client

    try:
        with get_client(sync_client=True) as client:
            yield client
    finally:
        orchestrator._stop_embedded()
        orchestrator._embedded.clear()
        os.environ.clear()
        os.environ.update(before)


def put(deployment: Deployment) -> None:
    register([deployment], [sys.executable, "-m", "greet now"], Path("/"))


def test_a_new_deployment_has_its_form_filled_in_and_its_schedule_switched_off(client: Any) -> None:
    put(GREET)
    found = client.read_deployment_by_name("greet/greet")
    assert (found.description, found.entrypoint, found.parameters) == ("Greets.", "flows.greet.greet", {"recipe": {"steps": 3}})
    assert [(each.schedule.cron, each.active) for each in found.schedules] == [("0 3 * * *", False)]
    assert (found.work_pool_name, found.enforce_parameter_schema, found.paused) == (POOL, True, False)
    template = client.read_work_pool(POOL).base_job_template["variables"]["properties"]
    assert template["command"]["default"] == f"{sys.executable} -m 'greet now'"


def test_a_new_default_arrives_and_what_somebody_changed_stays(client: Any) -> None:
    from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolUpdate

    put(replace(GREET, parameters={"recipe": {"steps": 5}}))
    there = client.read_deployment_by_name("greet/greet")
    assert there.parameters == {"recipe": {"steps": 5}}
    client.update_deployment(there.id, DeploymentUpdate(parameters={"recipe": {"steps": 99}}))
    client.update_deployment_schedule(there.id, there.schedules[0].id, active=True)
    client.update_work_pool(POOL, WorkPoolUpdate(concurrency_limit=2))
    put(replace(GREET, description="Greets anew.", parameters={"recipe": {"steps": 7}}))
    now = client.read_deployment_by_name("greet/greet")
    assert (now.description, now.parameters) == ("Greets anew.", {"recipe": {"steps": 99}})
    assert [each.active for each in now.schedules] == [True]
    assert client.read_work_pool(POOL).concurrency_limit == 2


def test_a_run_that_a_gone_worker_took_begins_again_or_is_over_as_far_as_it_was(client: Any) -> None:
    from prefect.client.schemas.objects import State
    from prefect.states import Cancelling, Pending, Running

    put(GREET)
    deployment = client.read_deployment_by_name("greet/greet").id
    states: dict[str, State[Any]] = {"taken": Pending(), "at work": Running(), "to be cancelled": Cancelling(), "told": Running()}
    states |= {"about to begin": Pending()}
    dead = replace(myself(), pid=2**22 + 1)
    runs = {}
    for name, state in states.items():
        tags = ["pid:1-1"] if name == "told" else []  # that one is for `infra.flow_runs`, which knows its process
        if name == "about to begin":
            tags = [f"host:{socket.gethostname()}", f"pid:{dead.pid}-{dead.started}-{dead.boot[:8]}-{dead.namespace}"]
        runs[name] = client.create_flow_run_from_deployment(deployment, parameters={"recipe": {"steps": 3}}, name=name, tags=tags)
        client.update_flow_run(runs[name].id, infrastructure_pid="1")  # without one, Prefect cancels at once
        client.set_flow_run_state(runs[name].id, Running(), force=True)
        client.set_flow_run_state(runs[name].id, state, force=True)
    assert sorted(recover()) == ["about to begin", "at work", "taken", "to be cancelled"]
    after = {name: client.read_flow_run(run.id).state_name for name, run in runs.items()}
    crashed = {"at work": "Crashed", "to be cancelled": "Cancelled"}
    assert after == {"taken": "Scheduled", "about to begin": "Scheduled", "told": "Running", **crashed}
    assert recover() == []


def test_the_children_of_an_ended_run_end_and_what_it_put_into_service_stays() -> None:
    # As a run that was killed: one child of its own, and one that it started to stay.
    code = (
        "import subprocess, sys\n"
        "for session in (False, True):\n"
        "    print(subprocess.Popen(['sleep', '300'], start_new_session=session).pid, flush=True)\n"
    )
    run = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    child, server = (psutil.Process(int(run.stdout.readline())) for _ in range(2))
    run.wait()
    try:
        assert in_sessions({run.pid}) == [child]
        _end_session(run.pid)
        assert not in_sessions({run.pid})
        assert server.is_running()
    finally:
        server.kill()
        run.stdout.close()
