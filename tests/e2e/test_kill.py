"""Real kills of real commands: what was computed is kept, and nobody works twice."""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from tests.e2e.conftest import FAST, Slipway
from tests.e2e.seen import mlflow_shows_it, prefect_shows_it, restarts_are_told

LONG = [*FAST, "--set=training.steps=400"]
PRETRAIN = ["run", "pretrain", "--set", "data.path=text.txt", *LONG, "--json"]


def wait_for_checkpoint(slipway: Slipway, process: "subprocess.Popen[str]", after: int = 0) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        steps = [int(path.parent.name.rsplit("-", 1)[-1]) for path in slipway.home.glob("store/runs/*/checkpoints/*/manifest.json")]
        if steps and max(steps) > after:
            return
        time.sleep(0.02)
    pytest.fail(f"no checkpoint came: {process.communicate()[1]}")


def loss_column(metrics_file: str) -> list[float]:
    losses: list[float] = pq.read_table(metrics_file)["loss"].to_pylist()
    return losses


@pytest.mark.slow
def test_killed_and_started_again_a_run_ends_with_the_loss_column_of_an_undisturbed_one(
    slipway: Slipway, tmp_path: Path, text: Callable[[Path], Path]
) -> None:
    text(slipway.folder / "text.txt")
    for after in (0, 100):
        process = slipway.start(*PRETRAIN)
        wait_for_checkpoint(slipway, process, after)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        servers = [child for child in children if "uvicorn" in " ".join(child.cmdline() if child.is_running() else [])]
        assert not psutil.wait_procs(servers, timeout=10)[1], "the temporary Prefect server outlived its command"
    resumed = slipway(*PRETRAIN)
    assert resumed.code == 0, resumed.err
    document = resumed.json()
    assert document["resumed_from"] > 100
    assert document["attempts"] == 3
    other = Slipway(tmp_path / "other", slipway.folder)
    undisturbed = other(*PRETRAIN).json()
    assert undisturbed["resumed_from"] is None
    assert loss_column(document["metrics_file"]) == loss_column(undisturbed["metrics_file"])
    assert document["metrics"]["val_loss"] == undisturbed["metrics"]["val_loss"]
    restarts_are_told(resumed)
    mlflow_shows_it(slipway.home, document, 400)
    prefect_shows_it(slipway.home)


@pytest.mark.slow
def test_of_two_runs_of_one_recipe_at_once_only_one_trains(slipway: Slipway, text: Callable[[Path], Path]) -> None:
    text(slipway.folder / "text.txt")
    first = slipway.start(*PRETRAIN)
    wait_for_checkpoint(slipway, first)
    first.send_signal(signal.SIGSTOP)  # at work still when the second comes, however fast this machine is
    second = slipway(*PRETRAIN)
    assert second.code == 5
    error = second.json()["error"]
    assert error["code"] == "lease-held"
    assert str(first.pid) in error["what"]
    first.send_signal(signal.SIGCONT)
    waited = slipway(*PRETRAIN, "--wait", "300")
    assert waited.code == 0, waited.err
    out, err = first.communicate(timeout=300)
    assert first.returncode == 0, err
    assert waited.json()["run_id"] == json.loads(out)["run_id"]
    assert len(list(slipway.home.glob("store/runs/pretrain-*"))) == 1


@pytest.mark.slow
def test_an_interrupted_run_says_that_nothing_is_lost_and_goes_on(slipway: Slipway, text: Callable[[Path], Path]) -> None:
    text(slipway.folder / "text.txt")
    process = slipway.start(*PRETRAIN)
    wait_for_checkpoint(slipway, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert json.loads(out)["error"]["code"] == "interrupted"
    assert "Traceback" not in err
    resumed = slipway(*PRETRAIN)
    assert resumed.code == 0, resumed.err
    assert resumed.json()["resumed_from"] > 0
