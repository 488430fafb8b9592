"""What is to be seen of a training that was killed and went on, read where a person looks: terminal, record, MLflow, Prefect."""

import sqlite3
from pathlib import Path
from typing import Any

import pandas as pd

from infra.tracking.client import connect
from infra.tracking.runs import find_run
from infra.tracking.ship import ship_now
from tests.e2e.conftest import Finished


def restarts_are_told(finished: Finished, stage: str = "pretrain") -> None:
    """One line on the terminal, and in the record every restart of the attempts before too, with what all of them took."""
    assert len([line for line in finished.err.splitlines() if line.startswith("  restarted after step ")]) == 1
    document = finished.json()
    result = next(each["result"] for each in document["stages"] if each["stage"] == stage)
    last = result["restarts"][-1]
    assert len(result["restarts"]) == document["attempts"] - 1
    assert last["step"] == document["resumed_from"]
    assert last["lost"] >= 0
    assert last["pause"] > 0
    spent = result["spent"]
    assert spent["failed_attempts"] == document["attempts"] - 1
    assert spent["worker_seconds"] > 0
    assert spent["failed_worker_seconds"] > 0
    assert spent["device"] == "cuda" or spent["money"] is None


def mlflow_shows_it(home: Path, document: dict[str, Any], steps: int) -> None:
    """The whole curve once, with the restart, the cost, the machine, and the full series and the samples beside it."""
    run, database = document["run_id"], f"sqlite:///{home / 'mlflow.db'}"
    assert ship_now(home / "spool" / f"{run}.jsonl", database, str(home / "store"), timeout=120).complete
    client = connect(database)
    found = find_run(client, "pretrain", {"slipway.run": run})
    assert found is not None
    shown = client.get_run(found).data
    assert [metric.step for metric in client.get_metric_history(found, "loss")] == list(range(1, steps + 1))
    assert shown.tags["slipway.restarts"] == "1"
    assert "- restarted after step " in shown.tags["mlflow.note.content"]
    wanted = {"gradient_norm", "learning_rate", "memory_bytes", "validation_bits_per_byte", "system/cpu_utilization_percentage"}
    assert wanted <= shown.metrics.keys()
    assert shown.metrics["cpu_worker_seconds"] > 0
    assert {each.path for each in client.list_artifacts(found)} >= {"loss-curve.png", "metrics.parquet", "samples.json"}
    assert '"samples.json", "type": "table"' in shown.tags["mlflow.loggedArtifacts"]
    table = pd.read_json(client.download_artifacts(found, "samples.json"), orient="split")
    assert table["step"].iloc[-1] == steps
    assert set(table["prompt"]) == {"The"}


def prefect_shows_it(home: Path) -> None:
    """On the page of the last run: the progress up to the end with the restart below it, and the picture of the loss."""
    with sqlite3.connect(home / "prefect" / "prefect.db") as database:
        rows = database.execute("select key, type, description, data from artifact order by created").fetchall()
    progress = [(description, data) for key, kind, description, data in rows if (key, kind) == ("progress-pretrain", "progress")]
    assert float(progress[-1][1]) == 100
    assert "tokens/s" in progress[-1][0]
    assert "restarted after step " in progress[-1][0]
    pictures = [data for key, kind, _, data in rows if (key, kind) == ("loss-pretrain", "markdown")]
    assert len(pictures) == 1
    assert "](data:image/png;base64," in pictures[0]
