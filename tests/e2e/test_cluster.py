"""The cluster of docker-compose.yml, started from packages with its own commands, variables and health checks, does a lifecycle."""

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.board import queries
from tests.e2e.composed import Composed, composed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
SMALL = {
    "steps": 12,
    "epochs": 0,
    "tokens_per_parameter": 0,
    "batch_size": 4,
    "sequence_length": 32,
    "checkpoint_every": 4,
    "validate_every": 6,
    "workers": 2,
}
AWAY = {"Processors", "Memory", "GPUs", "GPU memory", "MFU"}  # Ray's own exporter comes with the image alone, and here is no GPU
AWAY |= {"Time left", "Longest since a step", "Seconds since the last step", "Set right"}
"""Panels that are empty in the end: no run is at work, and in none had anything to be set right."""

# Asks addresses and prints the answers, each as JSON where it is; run where the names lead somewhere.
ASK = """
import base64, json, os, sys, urllib.error, urllib.request
for word in sys.argv[1:]:
    url, user, body = json.loads(word)
    head = {"Content-Type": "application/json"}
    if user:
        head["Authorization"] = "Basic " + base64.b64encode(user.encode()).decode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body and json.dumps(body).encode(), head), timeout=60) as answer:
            print(json.dumps(json.loads(answer.read() or b"null")))
    except urllib.error.HTTPError as error:
        print(error.code)
"""
PROBE = """
import os
from infra.store import open_store
print([open_store(os.environ["SLIPWAY_STORE"]).find_conditional_fault() for _ in range(5)])
"""


class Cluster:
    def __init__(self, services: Composed) -> None:
        self.services = services
        self.users = {name: f"slipway:{services.secrets[f'{name.upper()}_PASSWORD']}" for name in ("prefect", "mlflow")}

    def ask(self, *urls: str, user: str = "", body: Any = None) -> list[Any]:
        words = [json.dumps((url, self.users.get(user, ""), body)) for url in urls]
        done = self.services.run("worker", "python", "-c", ASK, *words)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def prefect(self, path: str, body: Any = None) -> Any:
        return self.ask(f"http://prefect:4200/api/{path}", user="prefect", body=body)[0]

    def mlflow(self, path: str) -> Any:
        return self.ask(f"http://mlflow:5000/api/2.0/mlflow/{path}", user="mlflow")[0]

    def prometheus(self, *texts: str) -> list[list[Any]]:
        from urllib.parse import quote

        answers = self.ask(*(f"http://prometheus:9090/api/v1/query?query={quote(text)}" for text in texts))
        assert all(isinstance(answer, dict) for answer in answers), answers
        return [answer["data"]["result"] for answer in answers]


@pytest.fixture(scope="module")
def cluster(text: Callable[[Path], Path]) -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="slipway-cluster-"))  # not pytest's own, which PostgreSQL's user may not enter
    text(folder / "data/text.txt")
    try:
        with composed(folder, SLIPWAY_DATA=str(folder / "data")) as services:
            services.start("worker", "ray-worker", "metrics", "prometheus")
            yield Cluster(services)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_without_its_password_no_server_answers(cluster: Cluster) -> None:
    runs, experiments, bucket = cluster.ask(
        "http://prefect:4200/api/flow_runs/count",
        "http://mlflow:5000/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default",
        "http://store:8333/slipway",
    )
    assert (runs, experiments, bucket) == (401, 401, 403)
    refused = cluster.services.run(
        "worker", "env", "RAY_AUTH_TOKEN=" + "0" * 64, "ray", "health-check", "--address", "ray-head:6379"
    )
    assert refused.returncode != 0


def test_the_conditional_puts_of_the_store_are_real(cluster: Cluster) -> None:
    done = cluster.services.run("worker", "python", "-c", PROBE)
    assert done.stdout.strip() == str([""] * 5), done.stderr


def test_a_lifecycle_from_its_form_trains_on_the_ray_workers_and_is_seen_everywhere(cluster: Cluster) -> None:
    deployment = cluster.prefect("deployments/name/lifecycle/lifecycle")
    recipe = deployment["parameters"]["recipe"]
    recipe["data"]["path"] = "data/text.txt"  # beside the home, as the worker's container has it
    recipe["tokenizer"]["vocabulary"] = 320
    recipe["pretrain"]["model"]["preset"] = "llama-tiny"
    recipe["pretrain"]["training"] |= SMALL
    run = cluster.prefect(f"deployments/{deployment['id']}/create_flow_run", {"parameters": {"recipe": recipe}})["id"]
    wait_for_end(cluster, run)

    version = cluster.mlflow("registered-models/alias?name=slipway-tiny&alias=champion")["model_version"]
    assert version["version"] == "1"
    assert version["source"].startswith("s3://slipway/store/runs/pretrain-")
    history = cluster.mlflow(f"metrics/get-history?run_id={version['run_id']}&metric_key=loss")["metrics"]
    assert [metric["step"] for metric in history] == list(range(1, 13))

    final = (
        f"slipway_training_loss == {float(history[-1]['value'])!r} and slipway_training_step == 12 and slipway_training_open == 0"
    )
    deadline = time.monotonic() + 60
    while not all(cluster.prometheus(final, "sum(slipway_spool_unshipped_bytes) == 0")):  # shipped to its end, and scraped since
        assert time.monotonic() < deadline, cluster.prometheus(
            "slipway_training_loss", "slipway_training_step", "slipway_training_open", "slipway_spool_unshipped_bytes"
        )
    [failed] = cluster.prometheus("sum(slipway_training_failed)")[0]
    assert failed["value"][1] == "0"
    asked = queries()
    answers = cluster.prometheus(*(query.text for query in asked))
    answered = {query.panel for query, found in zip(asked, answers, strict=True) if found}
    assert {query.panel for query in asked} - answered - AWAY == set()
    up = {each["metric"]["job"] for each in cluster.prometheus("up == 1")[0]}
    assert {"slipway", "store", "prometheus"} <= up


def wait_for_end(cluster: Cluster, run: str, seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while (state := cluster.prefect(f"flow_runs/{run}")["state"])["name"] != "Completed":
        ended = state["type"] in ("FAILED", "CRASHED", "CANCELLED")
        if ended or time.monotonic() > deadline:
            logs = cluster.prefect("logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC"})
            lines = "\n".join(str(line["message"]) for line in logs)
            pytest.fail(f"{state['name']}: {state['message']}\n{lines}\n{cluster.services.log('worker')[-4000:]}")
        time.sleep(0.5)
