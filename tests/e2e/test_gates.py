"""What is refused is refused in time, said with its reason, and on record."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import FAST, Slipway

LIFECYCLE = ["run", "lifecycle", "--set", "data.path=text.txt", *FAST]


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
    assert "expectations failed: bytes of the shortest document\n" in spoken.err
    assert not list(slipway.home.glob("store/datasets/*"))
    (report,) = slipway.home.glob("store/runs/*/artifacts/*")  # why, for whoever wants to know
    assert "bytes of the shortest document" in (report / "report.html").read_text()
    with sqlite3.connect(slipway.home / "prefect/prefect.db") as database:
        ((shown,),) = database.execute("select data from artifact where key = 'validate-data'").fetchall()
    failed = [row for row in json.loads(json.loads(shown)) if row["passed"] == "NO"]
    assert [row["expectation"] for row in failed] == ["bytes of the shortest document"]
    assert failed[0]["limit"] == "at least 100,000"
    assert failed[0]["sample rows"].startswith("text.txt:1")
    error = slipway(*words, "--json").json()["error"]
    assert (error["code"], error["where"]) == ("refused", "validate-data")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_model_worse_than_the_champion_is_refused_and_its_rejection_on_record(
    slipway: Slipway, text: Callable[[Path], Path]
) -> None:
    text(slipway.folder / "text.txt")
    waiver = "{expectation: min_shortest_bytes, who: ann, reason: a small harbour, expires: 2099-01-31}"
    short = ["--set", "data.expectations.min_shortest_bytes=100000", "--set", f"data.expectations.waivers=[{waiver}]"]
    first = slipway(*LIFECYCLE, *short, "--json")
    assert first.code == 0, first.err
    told = slipway("models", "show", "models:/slipway-tiny/1", "--json").json()["description"]
    assert "ann, until 2099-01-31: a small harbour" in told
    worse = slipway(*LIFECYCLE, *short, "--set", "training.steps=1", "--json")
    assert worse.code == 3, worse.err
    error = worse.json()["error"]
    assert (error["code"], error["where"]) == ("refused", "models:/slipway-tiny/2")
    assert error["what"].startswith("gates failed: not worse than the champion (+")
    assert [stage["state"] for stage in worse.json()["stages"]][2:] == ["done", "done", "done", "refused"]
    shown = slipway("models", "show", "models:/slipway-tiny/2", "--json").json()
    assert (shown["tags"]["gates"], shown["tags"]["review.status"]) == ("failed", "rejected")
    assert "**failed**: not worse than the champion (+" in shown["description"]
    assert "| the champion |" in shown["description"]
    champion = slipway("models", "show", "models:/slipway-tiny@champion", "--json").json()
    assert champion["version"] == 1
    decided = slipway("ledger", "show", "--json").json()["entries"]
    assert [(entry["action"], entry["who"]) for entry in decided] == [
        ("approve", "policy:automatic"),
        ("reject", "policy:automatic"),
    ]
