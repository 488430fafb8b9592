"""What `slipway ledger` and `slipway review` print: one document, an exit code, and sentences for people."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.cli import main
from infra.registry import Registry
from infra.tracking.client import connect
from tests.flows.candidates import PASSED, Quay

ONE = "models:/ship/1"
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def quay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Quay:
    connect(f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SLIPWAY_USER", "ann@quay")
    return Quay.made(tmp_path / "home", tmp_path / "mlflow.db")


@pytest.fixture
def slipway(capsys: pytest.CaptureFixture[str]) -> Call:
    def call(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(words)
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, said.out, said.err

    return call


def document(answer: tuple[int, str, str]) -> Any:
    return json.loads(answer[1])


def test_a_reviewer_decides_and_reads_it_again(quay: Quay, slipway: Call) -> None:
    quay.candidate("one", PASSED)
    assert [each["model"] for each in document(slipway("review", "list", "--json"))["candidates"]] == [ONE]
    code, out, _ = slipway("review", "show", ONE)
    assert code == 0
    assert "Evidence: whole, sha256" in out
    code, out, _ = slipway("review", "request-changes", ONE, "--reason", "more data")
    assert (code, out) == (0, f"{ONE} stays a candidate until the changes are made (entry 1 of the ledger, by ann@quay).\n")
    assert document(slipway("review", "list", "--json"))["candidates"][0]["changes_asked_for"] == "more data"
    code, out, _ = slipway("review", "approve", ONE, "--reason", "reads well")
    assert (code, out) == (0, f"{ONE} is the champion now (entry 2 of the ledger, by ann@quay).\n")
    assert document(slipway("review", "list", "--json")) == {"candidates": [], "champions": {"ship": ONE}}
    code, out, _ = slipway("ledger", "show")
    assert [line.split()[3:6] for line in out.splitlines()[2:]] == [
        ["request-changes", ONE, "ann@quay"],
        ["approve", ONE, "ann@quay"],
    ]


def test_verify_tells_an_alias_that_a_hand_moved_from_a_ledger_that_was_changed(quay: Quay, slipway: Call) -> None:
    quay.candidate("one", PASSED)
    quay.candidate("two", PASSED)
    assert slipway("ledger", "verify") == (0, "Nothing is decided yet.\n", "")
    slipway("review", "approve", ONE, "--reason", "reads well")
    assert slipway("ledger", "verify")[:2] == (0, "1 entries, each as it was written; the registry says the same.\n")
    Registry(quay.settings.tracking_uri).set_alias("ship", "champion", 2)
    moved = slipway("ledger", "verify", "--json")
    assert moved[0] == 3
    assert document(moved)["findings"] == []
    assert document(moved)["registry"] == ["alias champion of models:/ship is at version 2, the ledger has it at version 1"]
    (quay.store.root / "ledger/00000001.json").unlink()
    code, out, err = slipway("ledger", "verify")
    assert (code, out) == (3, "")
    assert "Entry 1 was cut off the end" in err
    refused = slipway("review", "approve", "models:/ship/2", "--reason", "fine", "--json")
    assert (refused[0], document(refused)["error"]["code"]) == (3, "ledger-broken")
