"""A machine that is wanted back, and one that dies while a checkpoint is on its way: real signals to real commands."""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.e2e.conftest import FAST, Slipway

PRETRAIN = [*["run", "pretrain", "--set", "data.path=text.txt", "--json"], *FAST, "--set=training.validate_every=0"]
LONG = [*PRETRAIN, "--set=training.steps=40", "--set=training.checkpoint_every=1"]  # always one on its way


def steps_saved(slipway: Slipway) -> list[int]:
    manifests = slipway.home.glob("store/runs/*/checkpoints/*/manifest.json")
    return sorted(int(path.parent.name.rsplit("-", 1)[-1]) for path in manifests)


def wait_for_step(slipway: Slipway, process: "subprocess.Popen[str]", step: int) -> None:
    deadline = time.monotonic() + 300
    while (steps_saved(slipway) or [0])[-1] < step:
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"no checkpoint came: {process.communicate()}")
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_that_is_terminated_or_killed_while_it_saves_ends_with_the_loss_column_of_an_undisturbed_one(
    slipway: Slipway, tmp_path: Path, text: Callable[[Path], Path]
) -> None:
    text(slipway.folder / "text.txt")
    process = slipway.start(*LONG)
    wait_for_step(slipway, process, 3)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    error = json.loads(out)["error"]
    (last,) = steps_saved(slipway)[-1:]
    assert error["code"] == "interrupted"
    assert f"after step {last} of 40, which is saved" in error["what"]
    assert f"goes on with step {last + 1}" in error["mend"]
    assert "Traceback" not in err
    process = slipway.start(*LONG)
    wait_for_step(slipway, process, last + 5)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    resumed = slipway(*LONG)
    assert resumed.code == 0, resumed.err
    document = resumed.json()
    assert document["resumed_from"] >= last + 5
    assert document["attempts"] == 3
    undisturbed = Slipway(tmp_path / "other", slipway.folder)(*PRETRAIN, "--set=training.steps=40").json()
    tables = [pq.read_table(each["metrics_file"]) for each in (document, undisturbed)]
    assert tables[0]["loss"].to_pylist() == tables[1]["loss"].to_pylist()
    assert tables[0]["gradient_norm"].to_pylist() == tables[1]["gradient_norm"].to_pylist()
