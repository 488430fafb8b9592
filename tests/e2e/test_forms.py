"""From a form in Prefect's pages to the work done: real services, a real browser, and every way in which a run may end."""

import json
import os
import signal
import sqlite3
import time
import urllib.error
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra.processes import in_sessions, marked
from llm.models.presets import PRESETS
from tests.e2e.browser import NEEDS_CHROMIUM, Pages, pages
from tests.e2e.conftest import Slipway

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), NEEDS_CHROMIUM]
SMALL = {"batch_size": 4, "sequence_length": 32, "checkpoint_every": 4, "validate_every": 6, "epochs": 0, "tokens_per_parameter": 0}


@dataclass(frozen=True)
class Up:
    """`slipway up`, with a browser before its pages."""

    slipway: Slipway
    pages: Pages
    text: Path

    def recipe(self, flow: str, steps: int, **data: Any) -> dict[str, Any]:
        """What the form of a flow is filled in with, made small."""
        recipe: dict[str, Any] = self.pages.api(f"deployments/name/{flow}/{flow}")["parameters"]["recipe"]
        recipe["data"] |= {"path": str(self.text)} | data
        recipe["tokenizer"]["vocabulary"] = 320
        part = recipe.get("pretrain", recipe)
        part["model"]["preset"] = "llama-tiny"
        part["training"] |= SMALL | {"steps": steps}
        return recipe

    def start(self, flow: str, recipe: dict[str, Any]) -> str:
        deployment = self.pages.api(f"deployments/name/{flow}/{flow}")
        run = self.pages.api(f"deployments/{deployment['id']}/create_flow_run", {"parameters": {"recipe": recipe}})
        return str(run["id"])

    def wait(self, run: str, *states: str, seconds: float = 120) -> dict[str, Any]:
        """Returns once the run is in one of these states."""
        deadline = time.monotonic() + seconds
        while True:
            found: dict[str, Any] = self.pages.api(f"flow_runs/{run}")
            if found["state"]["name"] in states:
                return found
            assert time.monotonic() < deadline, found["state"]
            time.sleep(0.2)

    def log(self, run: str, until: str) -> list[str]:
        """The log of a run, once it has a line with `until`: it arrives in batches."""
        deadline = time.monotonic() + 30
        while True:
            question = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC"}
            lines = [str(log["message"]) for log in self.pages.api("logs/filter", question)]
            if any(until in line for line in lines):
                return lines
            assert time.monotonic() < deadline, lines
            time.sleep(0.2)

    def training(self, steps: int) -> tuple[str, int]:
        """Starts a training that lasts, and returns its run and its process once a checkpoint is there."""
        run = self.start("pretrain", self.recipe("pretrain", steps))
        self.wait(run, "Running")
        before = set(self.slipway.home.glob("store/runs/*/checkpoints/*/manifest.json"))
        deadline = time.monotonic() + 120
        while not set(self.slipway.home.glob("store/runs/*/checkpoints/*/manifest.json")) - before:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        tag = next(tag for tag in self.pages.api(f"flow_runs/{run}")["tags"] if tag.startswith("pid:"))
        return run, int(tag.removeprefix("pid:").partition("-")[0])

    def worker(self) -> dict[str, Any]:
        services = self.slipway("status", "--json").json()["services"]
        return next(service for service in services if service["name"] == "worker")


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, text: Callable[[Path], Path]) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("forms")
    slipway = Slipway(folder / "home", folder)
    done = slipway("up", "--json")
    assert done.code == 0, done.err
    try:
        url = next(service["url"] for service in done.json()["services"] if service["name"] == "prefect")
        with pages(url) as shown:
            yield Up(slipway, shown, text(folder / "text.txt"))
    finally:
        slipway("down")


def test_the_lifecycle_is_started_from_its_form_and_registers_a_version(up: Up) -> None:
    form = up.pages.open_form("lifecycle")
    assert form.choices("Pretraining", "Model", "Preset") == list(PRESETS)
    form.choose("llama-tiny", "Pretraining", "Model", "Preset")
    form.fill(up.text, "Data", "Path")
    form.fill(320, "Tokenizer", "Vocabulary")
    form.fill(12, "Pretraining", "Training", "Steps")
    form.fill(32, "Pretraining", "Training", "Sequence length")
    form.fill("from-a-form", "Registration", "Name")
    assert "Optimizer updates to make." in form.field("Pretraining", "Training", "Steps").inner_text()
    form.fill(0, "Pretraining", "Training", "Batch size")
    assert "'recipe.pretrain.training.batch_size'. Failure reason: 0 is less than the minimum of 1" in form.refused()
    form.fill(4, "Pretraining", "Training", "Batch size")
    run = form.start()
    up.pages.wait_for_state(run, "Completed", seconds=180)
    tasks = up.pages.api("task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
    assert {task["name"].rsplit("-", 1)[0]: task["state_name"] for task in tasks}.items() >= {
        "validate-data": "Completed",
        "prepare-data": "Completed",
        "pretrain": "Completed",
        "evaluate": "Completed",
        "register": "Completed",
    }.items()
    said = up.log(run, until="register done in")
    assert any("12 steps of 128 tokens" in line for line in said)  # the progress that a terminal would show
    model = up.slipway("models", "show", "models:/from-a-form/1", "--json").json()
    assert model["model"] == "models:/from-a-form/1"
    again = up.slipway("run", "pretrain", "--json", *_settings(up.recipe("pretrain", 12)))
    assert {stage["state"] for stage in again.json()["stages"]} == {"reused"}  # the command line finds what the form did


def test_a_version_that_waits_for_a_person_is_approved_in_the_form_and_the_lifecycle_goes_on(up: Up) -> None:
    recipe = up.recipe("lifecycle", 12)
    recipe["registration"] |= {"name": "reviewed", "target": "local"}
    recipe["release"]["policy"] = "named"
    waiting = up.wait(up.start("lifecycle", recipe), "AwaitingReview", seconds=240)
    assert waiting["state"]["type"] == "COMPLETED"  # nothing failed
    assert "models:/reviewed/1" in waiting["state"]["message"]
    form = up.pages.open_form("review")
    assert form.choices("Decision") == ["approve", "reject"]
    form.fill("models:/reviewed/1", "Model version")
    form.choose("approve", "Decision")
    form.submit()
    form.expect("'reason' is a required property", "Reason")  # whoever decides says why
    form.fill("reads well", "Reason")
    form.fill("Ann of the quay", "Your name")
    up.pages.wait_for_state(form.start(), "Completed", seconds=120)
    entries = up.slipway("ledger", "show", "--json").json()["entries"]
    (entry,) = [each for each in entries if each["subject"]["model"] == "models:/reviewed/1"]
    assert (entry["action"], entry["who"], entry["why"]) == ("approve", "Ann of the quay", "reads well")
    goes_on = up.wait(up.start("lifecycle", recipe), "Completed", seconds=120)
    assert goes_on["state"]["message"].endswith("register reused; release done; deploy done")
    (target,) = up.slipway("status", "--json").json()["targets"]
    assert (target["state"], target["model"]) == ("serving", "models:/reviewed/1"), "it outlives the run that deployed it"
    assert "champion" in up.slipway("models", "show", "models:/reviewed/1", "--json").json()["aliases"]


def test_a_run_that_cannot_work_ends_with_one_sentence(up: Up) -> None:
    missing = up.wait(up.start("pretrain", up.recipe("pretrain", 12, path="/nowhere/book.txt")), "Failed")
    assert missing["state"]["message"].startswith("/nowhere/book.txt: no such file or folder")
    both = up.recipe("pretrain", 12)
    both["training"]["epochs"] = 2
    undecided = up.wait(up.start("pretrain", both), "Failed")
    assert "exactly one of training.steps, training.epochs" in undecided["state"]["message"]
    assert not any("Traceback" in line for line in up.log(undecided["id"], until="exactly one of"))
    with pytest.raises(urllib.error.HTTPError, match="409"):  # what the form cannot say, the server takes from nobody
        up.start("pretrain", {**both, "unknown": 1})


def test_a_cancelled_run_ends_with_its_process(up: Up) -> None:
    run, pid = up.training(100_000)
    up.pages.api(f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})
    up.wait(run, "Cancelled", seconds=60)
    assert not psutil.pid_exists(pid)
    assert not in_sessions({pid})


def test_a_killed_worker_takes_its_runs_along_and_the_next_one_goes_on(up: Up) -> None:
    run, pid = up.training(100_001)
    process = psutil.Process(pid)
    os.kill(up.worker()["pid"], signal.SIGKILL)
    process.wait(30)
    assert up.worker()["state"] == "dead"
    healed = up.slipway("up", "--json").json()
    assert healed["started"] == ["worker"]
    assert up.worker()["state"] == "running"
    crashed = up.wait(run, "Crashed")
    assert crashed["state"]["type"] == "CRASHED"
    again, successor = up.training(100_001)
    up.log(again, until="going on after step")
    os.kill(successor, signal.SIGKILL)
    killed = up.wait(again, "Crashed")
    assert "SIGKILL" in killed["state"]["message"]


def test_the_nightly_training_is_switched_on_and_stays_so(up: Up) -> None:
    def schedules() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = up.pages.api("deployments/name/pretrain/pretrain")["schedules"]
        return found

    (nightly,) = schedules()
    assert (nightly["schedule"]["cron"], nightly["active"]) == ("0 3 * * *", False)
    up.pages.open_deployment("pretrain")
    up.pages.page.locator(".deployment-schedule-card", has_text="nightly").get_by_role("switch").first.click()
    deployment = up.pages.api("deployments/name/pretrain/pretrain")["id"]
    mine = {"deployments": {"id": {"any_": [deployment]}}, "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    deadline = time.monotonic() + 180  # the server's scheduler looks every minute
    while not (planned := up.pages.api("flow_runs/filter", {**mine, "sort": "EXPECTED_START_TIME_ASC"})):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    first = datetime.fromisoformat(planned[0]["expected_start_time"])
    assert (first.hour, first.minute) == (3, 0)
    # Nobody waits for the night: one more schedule, for every half minute.
    recipe = up.recipe("pretrain", 12)
    soon = {"schedule": {"interval": 30}, "active": True, "parameters": {"recipe": recipe}, "slug": "soon"}
    (added,) = up.pages.api(f"deployments/{deployment}/schedules", [soon])
    done = {"state": {"type": {"any_": ["COMPLETED"]}}, "tags": {"all_": ["auto-scheduled"]}}
    ran = {"deployments": {"id": {"any_": [deployment]}}, "flow_runs": done}
    deadline = time.monotonic() + 180
    while not up.pages.api("flow_runs/filter", ran):
        assert time.monotonic() < deadline, [run["state"] for run in up.pages.api("flow_runs/filter", mine)]
        time.sleep(0.5)
    os.kill(up.worker()["pid"], signal.SIGKILL)
    up.slipway("up")
    assert {each["slug"]: each["active"] for each in schedules()} == {"nightly": True, "soon": True}
    up.pages.api(f"deployments/{deployment}/schedules/{added['id']}", method="DELETE")


def test_down_leaves_nothing_of_a_run_that_was_going(up: Up) -> None:
    run, pid = up.training(100_002)
    stopped = up.slipway("down", "--json").json()["stopped"]
    assert stopped[:3] == ["prefect", "mlflow", "worker"]  # and what an earlier test has deployed
    assert not psutil.pid_exists(pid)
    assert not in_sessions({pid})
    assert not marked(f"{up.slipway.home}:worker")
    with sqlite3.connect(up.slipway.home / "prefect" / "prefect.db") as database:
        ((state,),) = database.execute("select state_type from flow_run where replace(id, '-', '') = ?", [run.replace("-", "")])
    assert state == "CRASHED"  # it said so before Prefect's server went


def _settings(recipe: dict[str, Any]) -> list[str]:
    return [
        f"--set={section}.{key}={json.dumps(value)}"
        for section in ("model", "training")
        for key, value in recipe[section].items()
        if value
    ] + [
        f"--set=data.path={recipe['data']['path']}",
        f"--set=tokenizer.vocabulary={recipe['tokenizer']['vocabulary']}",
    ]
