"""What is refused is refused in time, said with its reason, and on record."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import FAST, Slipway

LIFECYCLE = ["run", "lifecycle", "--set", "data.path=text.txt", *FAST]
CROWN = """
import sys
from infra.tracking.client import connect
connect(sys.argv[1]).set_registered_model_alias("slipway-tiny", "champion", "1")
"""


@pytest.mark.slow
def test_a_failing_expectation_stops_everything_and_shows_limit_observation_and_rows(
    slipway: Slipway, text: Callable[[Path], Path]
) -> None:
    text(slipway.folder / "text.txt")
    words = [*LIFECYCLE, "--set", "data.expectations.min_shortest_bytes=100000"]
    spoken = slipway(*words)
    assert spoken.code == 3
    row = next(line for line in spoken.err.splitlines() if line.startswith("bytes of the shortest document"))
    assert "at least 100,000" in row
    assert "NO" in row
    assert "text.txt:1.1: The ship waits for the open sea" in spoken.err
    assert "1 of 13 expectations failed: bytes of the shortest document" in spoken.err
    assert not list(slipway.home.glob("store/datasets/*"))
    assert not list(slipway.home.glob("store/runs/*"))
    with sqlite3.connect(slipway.home / "prefect/prefect.db") as database:
        ((shown,),) = database.execute("select data from artifact where key = 'data-validation'").fetchall()
    failed = [row for row in json.loads(json.loads(shown)) if row["passed"] == "NO"]
    assert [row["expectation"] for row in failed] == ["bytes of the shortest document"]
    assert failed[0]["limit"] == "at least 100,000"
    assert failed[0]["sample rows"].startswith("text.txt:1")
    error = slipway(*words, "--json").json()["error"]
    assert (error["code"], error["where"]) == ("refused", "validate-data")


@pytest.mark.slow
def test_a_model_worse_than_the_champion_is_a_candidate_whose_gate_failed(slipway: Slipway, text: Callable[[Path], Path]) -> None:
    text(slipway.folder / "text.txt")
    first = slipway(*LIFECYCLE, "--json")
    assert first.code == 0, first.err
    subprocess.run([sys.executable, "-c", CROWN, f"sqlite:///{slipway.home}/mlflow.db"], env=slipway.env(), check=True)
    worse = slipway(*LIFECYCLE, "--set", "training.steps=1")
    assert worse.code == 0, worse.err
    assert "models:/slipway-tiny/2; gates failed: not worse than the champion" in worse.out
    shown = slipway("models", "show", "models:/slipway-tiny/2", "--json").json()
    assert shown["tags"]["gates"] == "failed"
    assert "**failed**: not worse than the champion (+" in shown["description"]
    assert "| the champion |" in shown["description"]
    champion = slipway("models", "show", "models:/slipway-tiny@champion", "--json").json()
    assert champion["version"] == 1
