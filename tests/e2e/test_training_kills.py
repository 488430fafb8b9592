"""Real kills of a training on two Ray workers: whatever dies, the loss column is that of a run that nobody disturbed."""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from tests.e2e.conftest import FAST, Slipway

EVERY = 20
RECIPE = [*FAST, "--set=training.steps=400", f"--set=training.checkpoint_every={EVERY}", "--set=training.validate_every=0"]
PRETRAIN = ["run", "pretrain", "--set", "data.path=text.txt", *RECIPE, "--set=training.workers=2", "--json"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def losses(document: dict[str, str]) -> list[float]:
    column: list[float] = pq.read_table(document["metrics_file"])["loss"].to_pylist()
    return column


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, text: Callable[[Path], Path]) -> Path:
    """Where every run of this file is started, so that all of them are of one recipe."""
    folder = tmp_path_factory.mktemp("work")
    text(folder / "text.txt")
    return folder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> list[float]:
    done = Slipway(tmp_path_factory.mktemp("undisturbed"), folder)(*PRETRAIN, timeout=600)
    assert done.code == 0, done.err
    return losses(done.json())


def newest_checkpoint(slipway: Slipway) -> int:
    manifests = slipway.home.glob("store/runs/*/checkpoints/*/manifest.json")
    return max((int(path.parent.name.rsplit("-", 1)[-1]) for path in manifests), default=0)


def checkpoint_after(slipway: Slipway, process: "subprocess.Popen[str]", step: int) -> int:
    """Waits for a whole checkpoint later than `step` and returns its step."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if (newest := newest_checkpoint(slipway)) > step:
            return newest
        time.sleep(0.02)
    pytest.fail(f"no checkpoint after step {step} came: {process.communicate()}")


def below(process: "subprocess.Popen[str]", name: str = "") -> list[psutil.Process]:
    """The processes under a command whose command line holds `name`, oldest first."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if name in " ".join(child.cmdline()) and child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return sorted(found, key=lambda child: child.create_time())


def workers(children: list[psutil.Process]) -> list[psutil.Process]:
    return [child for child in children if child.is_running() and "RayTrainWorker" in " ".join(child.cmdline())]


def nobody_lives_on(children: list[psutil.Process], seconds: float) -> None:
    _, left = psutil.wait_procs(children, timeout=seconds)
    assert not left, f"outlived their command: {[' '.join(child.cmdline())[:80] for child in left if child.is_running()]}"


def test_either_worker_and_the_head_die_and_the_run_goes_on_by_itself(
    slipway: Slipway, folder: Path, undisturbed: list[float]
) -> None:
    slipway = Slipway(slipway.home, folder)
    process = slipway.start(*PRETRAIN)
    step, victims = 0, []
    for name, place in (
        ("RayTrainWorker", -1),
        ("RayTrainWorker", 0),
        ("gcs_server", 0),
        ("raylet/raylet", 0),
    ):  # rank 0 is the oldest
        step = checkpoint_after(slipway, process, step)
        victim = below(process, name)[place]
        victim.kill()
        victim.wait()
        victims.append(victim.pid)
        step = newest_checkpoint(slipway)
    step = checkpoint_after(slipway, process, step)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    document = json.loads(out)
    assert len(set(victims)) == 4
    assert document["attempts"] == 1
    assert "another cluster starts, and training goes on from the newest checkpoint" in err
    assert losses(document) == undisturbed


def test_after_the_command_its_whole_tree_or_a_stop_the_same_command_goes_on(
    slipway: Slipway, folder: Path, undisturbed: list[float]
) -> None:
    slipway = Slipway(slipway.home, folder)
    process = slipway.start(*PRETRAIN)
    checkpoint_after(slipway, process, 0)
    children = below(process, "ray")
    training = workers(children)
    assert len(training) == 2
    process.kill()
    process.communicate()
    nobody_lives_on(training, 20)  # no worker trains on without its command

    process = slipway.start(*PRETRAIN)
    checkpoint_after(slipway, process, newest_checkpoint(slipway))
    nobody_lives_on(children, 5)  # idle agents of Ray's may stay: the next command ends them
    children = below(process, "ray")
    training = workers(children)
    for each in (psutil.Process(process.pid), *below(process)):
        with suppress(psutil.NoSuchProcess):  # Ray's end with their command
            each.kill()
    process.communicate()
    nobody_lives_on(training, 20)

    process = slipway.start(*PRETRAIN)
    step = checkpoint_after(slipway, process, newest_checkpoint(slipway))
    nobody_lives_on(children, 5)
    children = below(process, "ray")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert json.loads(out)["error"]["code"] == "interrupted"
    nobody_lives_on(children, 20)

    done = slipway(*PRETRAIN, timeout=600)
    assert done.code == 0, done.err
    document = done.json()
    assert document["attempts"] == 4
    assert document["resumed_from"] >= step
    assert losses(document) == undisturbed
