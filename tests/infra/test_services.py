"""Local services: `up` heals, `down` clears away, `status` tells the truth."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from flows.catalog import FLOWS
from infra import services
from infra.processes import LOOPBACK, answers, marked, reserve_port, stop
from infra.service_table import Service
from infra.services import Endpoints, ServiceError, down, live_endpoints, state, up, with_services
from infra.settings import Settings
from infra.store.liveness import is_alive

# Answers as a server does; like MLflow's it leaves the work to a child.
FAKE = """
import http.server, os, subprocess, sys
if len(sys.argv) == 2:
    sys.exit(subprocess.call([sys.executable, *sys.orig_argv[1:], "work"]))
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if os.path.exists("sick") else 200)
        self.end_headers()
    def log_message(self, *arguments): ...
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""
NAMES = ("prefect", "mlflow")


def fake(name: str, port: int, code: str = FAKE, needs: tuple[str, ...] = ()) -> Service:
    def environment(settings: Settings, port: int) -> dict[str, str]:
        return os.environ | (settings.environment() if needs else {})

    return Service(name, port, "/health", "/api", lambda s, p: [sys.executable, "-c", code, str(p)], environment, needs, not needs)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    for name in ("SLIPWAY_STORE", "MLFLOW_TRACKING_URI", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
    settings = Settings.load()
    yield settings
    down(settings)


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    with reserve_port() as one, reserve_port() as two:
        ports = one.getsockname()[1], two.getsockname()[1]
    monkeypatch.setattr(services, "SERVICES", tuple(map(fake, NAMES, ports)))
    monkeypatch.setattr(services, "_PATIENCE", 1.0)
    monkeypatch.setattr(services, "stop", partial(stop, grace=1.0))


def states(settings: Settings) -> list[str]:
    return [each.state for each in state(settings)]


def pids(settings: Settings) -> list[int | None]:
    return [each.pid for each in state(settings)]


@pytest.mark.usefixtures("fakes")
def test_up_starts_what_does_not_run_and_leaves_alone_what_does(settings: Settings) -> None:
    assert states(settings) == ["not started", "not started"]
    first = up(settings)
    assert first.started == NAMES
    assert states(settings) == ["running", "running"]
    before = pids(settings)
    again = up(settings)
    assert again == Endpoints(first.prefect_api_url, first.mlflow_url, started=())
    assert pids(settings) == before
    assert down(settings) == list(NAMES)
    assert states(settings) == ["not started", "not started"]
    assert down(settings) == []


@pytest.mark.usefixtures("fakes")
def test_other_commands_find_the_live_services_in_an_instant(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert live_endpoints(settings.home) is None
    endpoints = up(settings)
    began = time.perf_counter()
    live = live_endpoints(settings.home)
    assert time.perf_counter() - began < 0.05
    assert live == Endpoints(endpoints.prefect_api_url, endpoints.mlflow_url)
    assert with_services(settings).tracking_uri == endpoints.mlflow_url
    assert with_services(settings).prefect_api_url == endpoints.prefect_api_url
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mine")
    assert with_services(Settings.load()).tracking_uri == "http://mine"


@pytest.mark.usefixtures("fakes")
def test_a_killed_service_is_called_dead_and_replaced_with_what_it_left_behind(settings: Settings) -> None:
    up(settings)
    recorded = services._recorded(settings.home)
    os.kill(recorded["mlflow"].process.pid, signal.SIGKILL)
    while is_alive(recorded["mlflow"].process):
        time.sleep(0.01)
    assert states(settings) == ["running", "dead"]
    left = marked(f"{settings.home}:mlflow")
    assert len(left) == 1  # the child that does the work, and holds the port
    live = live_endpoints(settings.home)
    assert live is not None
    assert live.mlflow_url is None
    healed = up(settings)
    assert healed.started == ("mlflow",)
    assert states(settings) == ["running", "running"]
    assert left[0].pid not in {process.pid for process in marked(f"{settings.home}:mlflow")}


@pytest.mark.usefixtures("fakes")
def test_a_service_that_stopped_answering_is_replaced(settings: Settings) -> None:
    up(settings)
    sick = settings.home / "logs" / "sick"
    sick.touch()
    assert states(settings) == ["not answering", "not answering"]
    sick.unlink()
    started = services._recorded(settings.home)["prefect"].process
    os.killpg(started.pid, signal.SIGSTOP)
    try:
        assert states(settings) == ["not answering", "running"]
    finally:
        healed = up(settings)
    assert healed.started == ("prefect",)
    assert not is_alive(started)


def test_the_worker_is_told_where_the_others_are_and_follows_them(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, fakes: None
) -> None:
    monkeypatch.setattr(services, "SERVICES", (*services.SERVICES, fake("worker", 0, needs=NAMES)))

    def told() -> tuple[str | None, str | None]:
        environment = psutil.Process(services._recorded(settings.home)["worker"].process.pid).environ()
        assert environment["SLIPWAY_HOME"] == str(settings.home)
        return environment["PREFECT_API_URL"], environment["MLFLOW_TRACKING_URI"]

    first = up(settings)
    assert first.started == (*NAMES, "worker")
    assert told() == (first.prefect_api_url, f"{first.mlflow_url}")
    assert [each.url is None for each in state(settings)] == [False, False, True]
    before = pids(settings)[2]
    os.kill(services._recorded(settings.home)["mlflow"].process.pid, signal.SIGKILL)
    while states(settings)[1] != "dead":
        time.sleep(0.01)
    assert up(settings).started == ("mlflow",)  # at its old address: the worker need not know
    assert pids(settings)[2] == before
    os.kill(services._recorded(settings.home)["prefect"].process.pid, signal.SIGKILL)
    while states(settings)[0] != "dead":
        time.sleep(0.01)
    stop(marked(f"{settings.home}:prefect"))
    with socket.socket() as stranger:  # on Prefect's port, so that it comes back on another
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind((LOOPBACK, services.SERVICES[0].port))
        stranger.listen()
        moved = up(settings)
    assert moved.started == ("prefect", "worker")
    assert moved.prefect_api_url != first.prefect_api_url
    assert told() == (moved.prefect_api_url, moved.mlflow_url)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mine")
    down(settings)
    up(Settings.load())
    assert told()[1] == "http://mine"  # the user's word, as for a command


@pytest.mark.usefixtures("fakes")
def test_down_and_up_find_children_that_lost_their_mark_by_their_session(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a run of the worker's does whose children, like Ray's, write over their environment and outlive it.
    run = "import os, subprocess; os.setsid(); subprocess.run(['sleep', '300'], env={})"
    code = FAKE.replace("if len", f"if len(sys.argv) == 2:\n    subprocess.Popen([sys.executable, '-c', {run!r}])\nif len", 1)
    monkeypatch.setattr(services, "SERVICES", (fake("prefect", 0, code),))
    up(settings)
    runs = [process for process in marked(f"{settings.home}:prefect") if process.cmdline()[-1] == run]
    while not (left := [child for child in runs[0].children() if child.name() == "sleep"]):
        time.sleep(0.01)
    killed = services._recorded(settings.home)["prefect"].process
    os.kill(killed.pid, signal.SIGKILL)
    while is_alive(killed):
        time.sleep(0.01)
    assert up(settings).started == ("prefect",)
    assert not psutil.wait_procs(left, timeout=10)[1]


@pytest.mark.usefixtures("fakes")
def test_services_whose_record_was_lost_are_found_and_stopped(settings: Settings) -> None:
    up(settings)
    (settings.home / "services.json").write_text('{"services": ')
    assert states(settings) == ["not answering", "not answering"]
    assert live_endpoints(settings.home) is None
    assert down(settings) == list(NAMES)
    assert not marked(f"{settings.home}:prefect")


def test_a_port_that_a_stranger_took_is_avoided(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as stranger:
        stranger.bind((LOOPBACK, 0))
        stranger.listen()
        taken = stranger.getsockname()[1]
        monkeypatch.setattr(services, "SERVICES", (fake("prefect", taken),))
        endpoints = up(settings)
        assert endpoints.prefect_api_url is not None
        assert f":{taken}/" not in endpoints.prefect_api_url
        assert states(settings) == ["running"]


def test_a_service_of_another_home_is_not_taken_for_ours(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    # Two homes found the same port free; the other one's server took it, and answers.
    with reserve_port() as held:
        port = held.getsockname()[1]
        other = subprocess.Popen([sys.executable, "-c", FAKE, str(port), "work"])
        try:
            while not answers(port):
                time.sleep(0.01)
            monkeypatch.setattr(services, "reserve_port", lambda preferred: held)
            monkeypatch.setattr(services, "SERVICES", (fake("prefect", port),))
            with pytest.raises(ServiceError, match="Address already in use"):
                up(settings)
        finally:
            other.kill()
            other.wait()


@pytest.mark.usefixtures("fakes")
def test_a_record_from_before_a_reboot_is_not_believed(settings: Settings) -> None:
    up(settings)
    path = settings.home / "services.json"
    record = json.loads(path.read_text())
    for entry in record["services"].values():
        entry["process"]["boot"] = "earlier"
    path.write_text(json.dumps(record))
    assert states(settings) == ["dead", "dead"]
    assert up(settings).started == NAMES


def test_a_service_that_does_not_come_up_says_why(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys; sys.exit('the database is of another planet')"
    monkeypatch.setattr(services, "SERVICES", (fake("prefect", 0, code),))
    with pytest.raises(ServiceError, match="of another planet") as caught:
        up(settings)
    assert caught.value.where == str(settings.home / "logs" / "prefect.log")
    assert live_endpoints(settings.home) is None


@pytest.mark.usefixtures("fakes")
def test_two_ups_at_once_start_one_of_each(settings: Settings) -> None:
    found: list[Endpoints] = []
    threads = [threading.Thread(target=lambda: found.append(up(settings))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each.started for each in found) == [(), NAMES]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_real_servers_come_up_heal_and_go(settings: Settings) -> None:
    def slipway(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", "from flows.cli import main; main()", *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    names = [*NAMES, "worker"]
    started = json.loads(slipway("up", "--json"))
    assert started["started"] == names
    assert [each["state"] for each in started["services"]] == ["running"] * 3
    url = {each["name"]: each["url"] for each in started["services"]}
    assert b"<html" in urllib.request.urlopen(url["prefect"]).read().lower()
    assert b"<html" in urllib.request.urlopen(url["mlflow"]).read().lower()
    shown = json.loads(urllib.request.urlopen(f"{url['prefect']}/ui-settings").read())
    assert shown["api_url"] == f"{url['prefect']}/api"
    question = urllib.request.Request(f"{url['prefect']}/api/deployments/filter", b"{}", {"Content-Type": "application/json"})
    deployments = {each["name"]: each for each in json.load(urllib.request.urlopen(question))}
    assert deployments.keys() == FLOWS.keys()
    assert all(each["description"] and each["enforce_parameter_schema"] for each in deployments.values())
    pid = {each["name"]: each["pid"] for each in started["services"]}
    for killed in ("mlflow", "worker"):
        os.kill(pid[killed], signal.SIGKILL)
        now = {each["name"]: each["state"] for each in json.loads(slipway("status", "--json"))["services"]}
        assert now == {name: "dead" if name == killed else "running" for name in names}
        assert json.loads(slipway("up", "--json"))["started"] == [killed]
    assert json.loads(slipway("down", "--json"))["stopped"] == names
    assert [each["state"] for each in json.loads(slipway("status", "--json"))["services"]] == ["not started"] * 3
    assert not [process for name in names for process in marked(f"{settings.home}:{name}")]
