"""The orchestrator: a run is never lost sight of, no server outlives its command, and the user's own Prefect is left alone."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra import orchestrator, prefect_server, services
from infra.orchestrator import OrchestratorError, connect, prepare_environment, start_embedded
from infra.processes import reserve_port
from infra.settings import Settings
from infra.store.errors import InputError
from infra.store.liveness import identify

# A command of ours: a flow of three tasks; "sleep" stays in the last one, "fail" raises there.
DRIVER = """
import json, signal, sys, time
from pathlib import Path
from infra import flow_runs, orchestrator
from infra.store.errors import RefusedError
signal.signal(signal.SIGINT, signal.default_int_handler)
home, mode, url = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
orchestrator.prepare_environment(home)
from prefect import flow, task  # as a plan does, before any server is named
began = time.monotonic()
server = orchestrator.connect(home, url) if url else orchestrator.start_embedded(home)
server.wait()
seen = {"reconciled": flow_runs.end_gone(), "server": server.process.pid if not url else None, "api": server.api_url}

@task(name="work")
def work(number):
    if number == 2 and mode == "sleep":
        print(json.dumps(seen), flush=True)
        time.sleep(300)
    if number == 2 and mode == "fail":
        raise RefusedError("the gate is shut", mend="Open it.")
    return number

@flow(name="drive")
def drive():
    return sum(work(number) for number in range(3))

try:
    seen["result"] = orchestrator.run_flow(drive, embedded=not url, tags=["drill"])
except RefusedError as error:
    seen["raised"] = str(error)
except KeyboardInterrupt:
    seen["raised"] = "interrupt"
seen["seconds"] = time.monotonic() - began
print(json.dumps(seen), flush=True)
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    before = dict(os.environ)
    yield tmp_path / "home"
    orchestrator._stop_embedded()
    orchestrator._embedded.clear()
    os.environ.clear()
    os.environ.update(before)


def drive(home: Path, mode: str = "", url: str = "", **environment: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", DRIVER, str(home), mode, url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})


def said(process: "subprocess.Popen[str]") -> tuple[dict[str, object], str]:
    """What a driver printed last, and what was on its standard error."""
    out, err = process.communicate(timeout=300)
    assert out, err
    return json.loads(out.splitlines()[-1]), err


def states(home: Path, table: str) -> list[tuple[str, str]]:
    """(state, message) of every run in the database, the oldest first."""
    with sqlite3.connect(home / "prefect" / "prefect.db") as database:
        rows = database.execute(
            f"select run.state_type, coalesce(state.message, '') from {table} run"
            f" left join {table}_state state on state.id = run.state_id order by run.created"
        )
        return [(str(kind), str(message)) for kind, message in rows]


def end(pid: int) -> None:
    if identify(pid):
        os.kill(pid, signal.SIGKILL)


def test_the_users_account_and_profile_are_out_of_reach(home: Path) -> None:
    os.environ |= {
        "PREFECT_API_KEY": "secret",
        "PREFECT_API_AUTH_STRING": "secret",
        "PREFECT_PROFILE": "work",
        "PREFECT_HOME": "/theirs",
    }
    prepare_environment(home)
    for name in ("PREFECT_API_KEY", "PREFECT_API_AUTH_STRING", "PREFECT_PROFILE"):
        assert name not in os.environ
    assert os.environ["PREFECT_PROFILES_PATH"] == str(home / "prefect" / "profiles.toml")
    assert os.environ["DO_NOT_TRACK"] == "1"
    assert not home.exists()


def test_a_server_of_the_users_is_reached_with_the_users_credentials(home: Path) -> None:
    os.environ |= {"PREFECT_API_URL": "http://mine/api", "PREFECT_API_KEY": "secret"}
    prepare_environment(home)
    assert os.environ["PREFECT_API_KEY"] == "secret"
    assert os.environ["PREFECT_API_URL"] == "http://mine/api"


def test_our_server_never_writes_to_the_users_database(home: Path) -> None:
    os.environ |= {
        "PREFECT_API_DATABASE_CONNECTION_URL": "postgresql://theirs",
        "PREFECT_SERVER_API_AUTH_STRING": "secret",
        "PATH": "/bin",
    }
    environment = prefect_server.environment(home, 4300, temporary=True)
    assert environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] == f"sqlite+aiosqlite:///{home}/prefect/prefect.db"
    assert environment["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert environment["PATH"] == "/bin"
    assert not {"PREFECT_API_DATABASE_CONNECTION_URL", "PREFECT_SERVER_API_AUTH_STRING"} & set(environment)


def test_a_server_that_is_not_there_is_a_clear_error_within_seconds(home: Path) -> None:
    with reserve_port() as held:
        url = f"http://127.0.0.1:{held.getsockname()[1]}/api"
        with pytest.raises(InputError, match="no Prefect server answers") as caught:
            connect(home, url).wait(timeout=2)
    assert caught.value.where == url
    assert "slipway up" in caught.value.mend


def test_a_server_that_does_not_come_up_says_why_and_where_its_log_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefect_server, "command", lambda port: [sys.executable, "-c", "import sys; sys.exit('disk on fire')"])
    server = start_embedded(home)
    with pytest.raises(OrchestratorError, match="ended before it answered: disk on fire") as caught:
        server.wait()
    assert caught.value.where == str(home / "logs" / "prefect-server.log")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_flow_runs_quietly_with_nothing_started_and_every_state_is_kept(home: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "profiles.toml").write_text('active = "work"\n[profiles.work]\nPREFECT_API_URL = "http://127.0.0.1:9/api"\n')
    before = (theirs / "profiles.toml").read_bytes()
    seen, err = said(drive(home, PREFECT_HOME=str(theirs), PREFECT_PROFILES_PATH=str(theirs / "profiles.toml")))
    assert seen["result"] == 3
    assert err == ""
    assert [state for state, _ in states(home, "flow_run")] == ["COMPLETED"]
    assert [state for state, _ in states(home, "task_run")] == ["COMPLETED"] * 3
    assert identify(int(str(seen["server"]))) is None
    assert [path.name for path in theirs.iterdir()] == ["profiles.toml"]
    assert (theirs / "profiles.toml").read_bytes() == before


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_error_of_ours_comes_through_unchanged_and_no_traceback_reaches_the_terminal(home: Path) -> None:
    seen, err = said(drive(home, "fail"))
    assert seen["raised"] == "the gate is shut\nOpen it."
    assert err == ""
    assert states(home, "flow_run")[0][0] == "FAILED"
    assert "the gate is shut" in (home / "logs" / "flows.log").read_text()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_after_kill_9_no_server_is_left_and_the_next_command_says_the_run_crashed(home: Path) -> None:
    killed = drive(home, "sleep")
    assert killed.stdout is not None
    server = int(json.loads(killed.stdout.readline())["server"])
    deadline = time.monotonic() + 60
    while "RUNNING" not in [state for state, _ in states(home, "task_run")]:  # states of tasks reach the server as events
        assert time.monotonic() < deadline
        time.sleep(0.1)
    try:
        killed.kill()
        killed.communicate()
        began = time.monotonic()
        while identify(server) and time.monotonic() - began < 5:
            time.sleep(0.02)
        assert time.monotonic() - began < 3
    finally:
        end(server)
    assert [state for state, _ in states(home, "flow_run")] == ["RUNNING"]
    seen, _ = said(drive(home))
    assert len(json.loads(json.dumps(seen["reconciled"]))) == 1
    (crashed, message), (completed, _) = states(home, "flow_run")
    assert (crashed, completed) == ("CRASHED", "COMPLETED")
    assert f"Process {killed.pid} on" in message
    assert {state for state, _ in states(home, "task_run")} == {"CRASHED", "COMPLETED"}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ctrl_c_ends_the_run_at_once_in_a_final_state(home: Path) -> None:
    process = drive(home, "sleep")
    assert process.stdout is not None
    server = int(json.loads(process.stdout.readline())["server"])
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    seen, err = said(process)
    assert time.monotonic() - began < 20
    assert seen["raised"] == "interrupt"
    assert err == ""
    assert [state for state, _ in states(home, "flow_run")] == ["CRASHED"]
    assert identify(server) is None


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_commands_at_once_on_a_fresh_home_both_work_and_neither_needs_the_other(home: Path) -> None:
    waiting, working = drive(home, "sleep"), drive(home)
    assert waiting.stdout is not None
    seen, err = said(working)
    assert (seen["result"], err) == (3, "")
    assert seen["reconciled"] == []
    other = json.loads(waiting.stdout.readline())
    assert other["api"] != seen["api"]
    assert psutil.pid_exists(other["server"])  # the first to end took nothing from the second
    waiting.send_signal(signal.SIGINT)
    assert said(waiting)[0]["raised"] == "interrupt"
    assert sorted(state for state, _ in states(home, "flow_run")) == ["COMPLETED", "CRASHED"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_runs_before_and_beside_up_appear_on_its_server(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_HOME", str(home))
    monkeypatch.setattr(services, "SERVICES", services.SERVICES[:1])
    said(drive(home))
    settings = Settings.load()
    endpoints = services.up(settings)
    try:
        assert endpoints.prefect_api_url is not None
        seen, err = said(drive(home, url=endpoints.prefect_api_url))
        assert (seen["result"], err) == (3, "")
        assert float(str(seen["seconds"])) < 15
        connect(home, endpoints.prefect_api_url).wait()
        from prefect.client.orchestration import get_client  # 2 s, and only here
        from prefect.client.schemas.sorting import FlowRunSort

        with get_client(sync_client=True) as client:
            runs = client.read_flow_runs(limit=10, offset=0, sort=FlowRunSort.ID_DESC)
        assert [run.state_name for run in runs] == ["Completed", "Completed"]
        assert "drill" in runs[0].tags
    finally:
        services.down(settings)
