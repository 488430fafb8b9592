"""No zombies: a real run that was killed with -9 is crashed, and one beside it goes on as if nothing had happened."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.reconciling import look
from infra import flow_runs, orchestrator, services
from infra.settings import Settings
from infra.store.folder import FolderStore
from infra.store.lease import lease
from infra.store.leases import unreleased
from infra.store.liveness import Owner, myself
from tests.e2e.conftest import FAST, Slipway

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Up:
    """Prefect's and MLflow's servers, for commands with a home of their own."""

    slipway: Slipway
    settings: Settings
    endpoints: services.Endpoints

    @property
    def store(self) -> FolderStore:
        return FolderStore(Path(self.settings.store))

    def train(self, steps: int) -> "subprocess.Popen[str]":
        """`slipway run pretrain`, at work for an hour."""
        settings = ["--set=data.path=text.txt", *FAST, f"--set=training.steps={steps}"]
        return self.slipway.start("run", "pretrain", *settings, "--wait=300")  # for the other, which prepares the same data

    def checkpoints(self) -> set[str]:
        return {path.parts[-4] for path in self.slipway.home.glob("store/runs/pretrain-*/checkpoints/*/manifest.json")}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, text: Callable[[Path], Path]) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("up")
    text(folder / "text.txt")
    before = dict(os.environ)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLIPWAY_HOME", str(folder / "home"))
        patch.setattr(services, "SERVICES", services.SERVICES[:2])
        settings = Settings.load()
        endpoints = services.up(settings)
        assert endpoints.prefect_api_url
        orchestrator.connect(settings.home, endpoints.prefect_api_url).wait()
        try:
            yield Up(Slipway(folder / "home", folder), settings, endpoints)
        finally:
            services.down(settings)
            os.environ.clear()
            os.environ.update(before)


def named(tags: list[str], process: "subprocess.Popen[str]") -> bool:
    return any(tag.startswith(f"pid:{process.pid}-") for tag in tags)


def wait(happened: Callable[[], Any], seconds: float = 300) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def test_a_killed_run_is_crashed_and_lets_go_of_all_it_held_and_a_living_one_is_not_touched(up: Up) -> None:
    from mlflow.tracking import MlflowClient  # seconds, and only here

    with flow_runs.server() as client:
        dying, living = up.train(100_000), up.train(100_001)
        try:
            wait(lambda: len(up.checkpoints()) == 2 or any(run.poll() is not None for run in (dying, living)))
            assert (dying.poll(), living.poll()) == (None, None)
            children = psutil.Process(dying.pid).children(recursive=True)
            at_work = flow_runs.at_work(client)
            killed, other = (next(run for run in at_work if named(run.tags, each)) for each in (dying, living))
            held = {lease.holder.owner.process.pid: lease.name for lease in unreleased(up.store)}
            for process in (psutil.Process(dying.pid), *children):  # the machine's whole tree, who ships its metrics too
                process.send_signal(signal.SIGKILL)
            dying.communicate()
            planned = up.slipway("run", "reconcile", "--plan", "--json").json()["stages"]
            assert client.read_flow_run(killed.id).state_name == "Running", "a plan changes nothing"
            done = up.slipway("run", "reconcile", "--json")
            assert done.code == 0, done.err
            lines = [stage["why"] for stage in done.json()["stages"]]
            assert [stage["why"] for stage in planned] == lines
            assert [line[0] for line in lines] == [
                f"flow run {killed.name} of pretrain: Crashed",
                f"MLflow run {held[dying.pid]}-1: KILLED, unless it had ended",
                f"lease {held[dying.pid]}: released",
            ]
            ended = client.read_flow_run(killed.id)
            assert ended.state is not None
            assert ended.state.name == "Crashed"
            assert f"Process {dying.pid} on" in str(ended.state.message)
            assert client.read_flow_run(other.id).state_name == "Running"
            assert [lease.name for lease in unreleased(up.store)] == [held[living.pid]]
            mlflow = MlflowClient(up.endpoints.mlflow_url)

            def status() -> dict[str, str]:
                runs = mlflow.search_runs([each.experiment_id for each in mlflow.search_experiments()])
                return {run.data.tags["slipway.run"]: run.info.status for run in runs}

            wait(lambda: status()[f"{held[dying.pid]}-1"] == "KILLED")
            assert status()[f"{held[living.pid]}-1"] == "RUNNING"
            assert living.poll() is None
            again = up.slipway("run", "reconcile", "--json").json()["stages"]
            assert [stage["why"][0] for stage in again] == ["nothing to do"]
        finally:
            for run in (dying, living):
                run.send_signal(signal.SIGINT)
                run.communicate()


def tags(host: str, pid: int) -> list[str]:
    """As a run has them that a process carried out, of this boot."""
    me = myself()
    return ["slipway", f"host:{host}", f"pid:{pid}-{me.started}-{me.boot[:8]}-{me.namespace}"]


def test_the_slots_of_the_dead_are_free_and_states_that_are_not_theirs_stay(up: Up) -> None:
    from prefect.client.schemas.actions import DeploymentUpdate  # two seconds, and only here
    from prefect.states import Completed, Pending, Running, Scheduled

    dead, elsewhere = tags(socket.gethostname(), 2**22 + 1), tags("node-b", 7)
    with flow_runs.server() as client:
        flow = client.create_flow_from_name("drill")
        deployment = client.create_deployment(flow, "drill")
        client.update_deployment(deployment, DeploymentUpdate(concurrency_limit=1))

        def run(name: str, tags: list[str]) -> Any:
            return client.create_flow_run_from_deployment(deployment, name=name, tags=tags)

        def state(run: Any) -> str:
            return str(client.read_flow_run(run.id).state_name)

        killed, next_one = run("killed", dead), run("next", [])
        client.set_flow_run_state(killed.id, Pending())
        client.set_flow_run_state(killed.id, Running())
        assert client.set_flow_run_state(next_one.id, Pending()).status.value != "ACCEPT", "there is one slot"
        retried = run("retried", dead)  # somebody starts a crashed run again: its tags are of the process before
        client.set_flow_run_state(retried.id, Scheduled(), force=True)
        (found,) = flow_runs.gone(client)
        late = run("late", dead)
        client.set_flow_run_state(late.id, Running(), force=True)
        listed = next(each for each in flow_runs.gone(client) if each.id == late.id)
        client.set_flow_run_state(late.id, Completed(), force=True)  # its last word, between the list and the mark
        assert not flow_runs.mark_ended(client, listed)
        assert flow_runs.end_gone() == [found.name] == ["killed"]
        assert (state(killed), state(late), state(retried)) == ("Crashed", "Completed", "Scheduled")
        client.set_flow_run_state(next_one.id, Scheduled(), force=True)
        assert client.set_flow_run_state(next_one.id, Pending()).status.value == "ACCEPT"

        silent, unknown = run("silent", elsewhere), run("unknown", tags("node-c", 7))
        for each in (silent, unknown):
            client.set_flow_run_state(each.id, Running(), force=True)
        with lease(up.store, "register-0000000000aa"):
            pass
        record = json.loads(up.store.read("leases/register-0000000000aa.json"))
        record["holder"]["owner"] = asdict(Owner("node-b", replace(myself(), pid=7)))
        record |= {"released": False, "expires": time.time() - 1000}
        up.store.write("leases/register-0000000000aa.json", json.dumps(record).encode())
        settings = Settings(SLIPWAY_HOME=up.settings.home, SLIPWAY_LEASE_SECONDS=0.3)
        assert [dead.what for dead in look(settings, up.store, client) if dead.end()] == [
            "flow run silent of drill",
            "lease register-0000000000aa",
        ]
        ended = client.read_flow_run(silent.id).state
        assert ended is not None
        assert (ended.name, state(unknown)) == ("Crashed", "Running")
        assert "Process 7 on node-b let its lease on register-0000000000aa run out at 20" in str(ended.message)

        record["holder"]["owner"] = asdict(Owner("node-c", replace(myself(), pid=7)))
        up.store.write("leases/register-0000000000aa.json", json.dumps(record).encode())
        with lease(up.store, "register-0000000000aa"):  # started again elsewhere before anybody looked
            assert [dead.what for dead in look(settings, up.store, client) if dead.end()] == ["flow run unknown of drill"]
        assert state(unknown) == "Crashed"
        assert list(look(settings, up.store, client)) == []
