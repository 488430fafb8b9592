"""The same commands beside `slipway up`, and on Ray: what a person sees in the pages, and nothing done twice."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import FAST, Slipway

DATA = ["--set", "data.path=text.txt"]
LOOK = """
import json, sys, mlflow
mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()
version = client.get_model_version("slipway-tiny", "1")
steps = [metric.step for metric in client.get_metric_history(version.run_id, "loss")]
artifacts = [artifact.path for artifact in client.list_artifacts(version.run_id)]
answers = mlflow.pyfunc.load_model("models:/slipway-tiny/1").predict(["The ship"])
print(json.dumps({"steps": steps, "artifacts": artifacts, "answers": answers, "tags": version.tags}))
"""


def ask(url: str, question: dict[str, Any]) -> Any:
    request = urllib.request.Request(url, json.dumps(question).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_beside_up_is_in_prefect_and_in_mlflow_and_answers_behind_the_server(
    slipway: Slipway, text: Callable[[Path], Path]
) -> None:
    text(slipway.folder / "text.txt")
    up = slipway("up", "--json")
    assert up.code == 0, up.err
    urls = {service["name"]: service["url"] for service in up.json()["services"]}
    try:
        done = slipway("run", "lifecycle", *DATA, *FAST, "--json")
        assert done.code == 0, done.err
        runs = ask(f"{urls['prefect']}/api/flow_runs/filter", {})
        assert [run["state_name"] for run in runs] == ["Completed"]
        tasks = ask(f"{urls['prefect']}/api/task_runs/filter", {"flow_runs": {"id": {"any_": [runs[0]["id"]]}}})
        assert {task["name"].rsplit("-", 1)[0] for task in tasks} == {
            "validate-data",
            "prepare-data",
            "pretrain",
            "evaluate",
            "register",
            "release",
        }
        looked = subprocess.run(
            [sys.executable, "-c", LOOK, urls["mlflow"]], env=slipway.env(), capture_output=True, text=True, check=False
        )
        assert looked.returncode == 0, looked.stderr
        seen = json.loads(looked.stdout.splitlines()[-1])
        assert sorted(seen["steps"]) == list(range(1, 13))
        assert {"package", "loss-curve.png"} <= set(seen["artifacts"])
        assert len(seen["answers"]) == 1
        assert seen["tags"]["slipway.run"] == done.json()["run_id"]
        again = slipway("run", "lifecycle", *DATA, *FAST, "--json")
        assert {stage["state"] for stage in again.json()["stages"]} == {"reused"}
        states = [run["state_name"] for run in ask(f"{urls['prefect']}/api/flow_runs/filter", {})]
        assert states == ["Completed", "Completed"]  # a run that reused everything is on record too
    finally:
        down = slipway("down", "--json")
    assert down.json()["stopped"] == ["prefect", "mlflow", "worker"]
    alone = slipway("models", "list", "--json")  # what the server wrote is there without it
    assert [model["model"] for model in alone.json()["models"]] == ["models:/slipway-tiny/1"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_on_two_ray_workers_the_command_gives_the_same_document_and_its_result_is_reused_by_none(
    slipway: Slipway, text: Callable[[Path], Path]
) -> None:
    text(slipway.folder / "text.txt")
    words = ["run", "pretrain", *DATA, *FAST, "--json"]
    spread = slipway(*words, "--set", "training.workers=2")
    assert spread.code == 0, spread.err
    document = spread.json()
    assert document["metrics"]["tokens"] == 12 * 4 * 32
    assert document["resumed_from"] is None
    alone = slipway(*words)
    assert alone.json()["run_id"] == document["run_id"]
    assert alone.json()["stages"][-1]["state"] == "reused"
    refused = slipway(*words, "--set", "training.workers=3", "--set", "training.seed=2")
    assert refused.code == 2
    assert "training.batch_size 4 does not divide among 3 workers" in refused.json()["error"]["what"]
