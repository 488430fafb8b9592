"""The reviewer's door, from the command line: a lifecycle waits for a person, and goes on when one has decided."""

import json
import sqlite3
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import FAST, Slipway

LIFECYCLE = ["run", "lifecycle", "--set", "data.path=text.txt", *FAST, "--set", "release.policy=named"]
MODEL = "models:/slipway-tiny/1"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_lifecycle_waits_for_a_person_and_goes_on_when_one_has_decided(slipway: Slipway, text: Callable[[Path], Path]) -> None:
    text(slipway.folder / "text.txt")
    waiting = slipway(*LIFECYCLE, "--json")
    assert waiting.code == 4, waiting.err
    document = waiting.json()
    assert document["error"]["code"] == "awaiting-review"
    assert document["error"]["where"] == document["model"] == MODEL
    assert f"slipway review approve {MODEL} --reason" in document["error"]["mend"]
    assert [stage["state"] for stage in document["stages"]] == ["done"] * 5 + ["awaiting review"]
    with sqlite3.connect(slipway.home / "prefect/prefect.db") as database:
        states = database.execute("select state_name, state_type from flow_run").fetchall()
    assert states == [("AwaitingReview", "COMPLETED")]
    plan = slipway(*LIFECYCLE, "--plan")
    assert plan.code == 0
    assert plan.out.splitlines()[-1].split(maxsplit=1) == ["release", "awaiting review a person must decide"]

    listed = slipway("review", "list", "--json").json()
    assert [(each["model"], each["gates"]) for each in listed["candidates"]] == [(MODEL, "passed")]
    shown = slipway("review", "show", MODEL, "--json").json()
    assert shown["evidence"]["ok"]
    assert shown["champion"] is None
    assert shown["metrics"]["bits_per_byte.model"]["this"] > 0
    missing = slipway("review", "approve", MODEL, "--json")
    assert (missing.code, missing.json()["error"]["code"]) == (2, "bad-input")
    ann = {"SLIPWAY_USER": "ann@quay"}
    approved = slipway("review", "approve", MODEL, "--reason", "reads well", "--json", env=ann)
    assert approved.code == 0, approved.err
    decision = approved.json()
    assert (decision["changed"], decision["champion"], decision["who"]) == (True, MODEL, "ann@quay")
    twice = slipway("review", "approve", MODEL, "--reason", "again", env=ann)
    assert twice.code == 0
    assert twice.out.startswith(f"{MODEL} is the champion already (entry 1 of the ledger, by ann@quay: reads well).")

    goes_on = slipway(*LIFECYCLE, "--json")
    assert goes_on.code == 0, goes_on.err
    assert [stage["state"] for stage in goes_on.json()["stages"]] == ["reused"] * 5 + ["done"]
    reused = slipway(*LIFECYCLE, "--json")
    assert reused.code == 0
    assert {stage["state"] for stage in reused.json()["stages"]} == {"reused"}
    alone = slipway("run", "release", "--set", f"model={MODEL}", "--set", "release.policy=automatic", "--json")
    assert alone.code == 0, alone.err
    refused = slipway("review", "reject", MODEL, "--reason", "no", "--json")
    assert (refused.code, refused.json()["error"]["code"]) == (3, "refused")

    whole = slipway("ledger", "verify", "--json")
    assert (whole.code, whole.json()["ok"], whole.json()["entries"]) == (0, True, 1)
    entry = slipway.home / "store/ledger/00000001.json"
    entry.write_text(entry.read_text().replace("ann@quay", "eve@quay"))
    broken = slipway("ledger", "verify", "--json")
    assert (broken.code, broken.json()["error"]["code"]) == (3, "ledger-broken")
    assert [finding["what"] for finding in broken.json()["findings"]] == [
        "Entry 1 was changed: it does not have the hash it was written with."
    ]
    assert "Entry 1 was changed" in slipway("ledger", "verify").err


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_behind_the_servers_of_up_a_person_decides_the_same_way(slipway: Slipway, text: Callable[[Path], Path]) -> None:
    text(slipway.folder / "text.txt")
    up = slipway("up", "--json")
    assert up.code == 0, up.err
    urls = {service["name"]: service["url"] for service in up.json()["services"]}
    try:
        assert slipway(*LIFECYCLE, "--json").code == 4
        question = urllib.request.Request(f"{urls['prefect']}/api/flow_runs/filter", b"{}", {"Content-Type": "application/json"})
        with urllib.request.urlopen(question, timeout=30) as answer:
            assert [run["state_name"] for run in json.load(answer)] == ["AwaitingReview"]
        form = ["--set", f"model={MODEL}", "--set", "decision=approve", "--set", "reason=reads well", "--set", "reviewer=eve@form"]
        reviewed = slipway("run", "review", *form, "--json")
        assert reviewed.code == 0, reviewed.err
        champion = slipway("models", "show", "models:/slipway-tiny@champion", "--json").json()
        assert (champion["model"], champion["tags"]["review.by"]) == (MODEL, "eve@form")
        assert slipway(*LIFECYCLE, "--json").code == 0
        whole = slipway("ledger", "verify", "--json")
        assert whole.code == 0, whole.out
    finally:
        slipway("down")
