"""Deployment as a user has it: real packages, the real server behind HAProxy, the commands, and clients who must notice nothing."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from flows.work.package import write_package
from infra.ledger import Ledger
from infra.processes import marked, stop
from infra.registry import Registry
from infra.settings import Settings
from infra.store import open_store
from infra.store.errors import SlipwayError
from infra.store.manifest import publish
from infra.targets import haproxy
from infra.tracking.client import connect
from llm.evaluation.golden import golden_completions
from llm.models.build import new_model
from llm.models.presets import preset
from llm.text.tokenizer import Tokenizer
from tests.e2e.conftest import Slipway
from tests.infra.targets.conftest import load

ASKED = {"model": "ship", "prompt": "The ship", "max_tokens": 24, "temperature": 0, "stream": True}


@pytest.fixture
def quay(slipway: Slipway) -> Iterator[Slipway]:
    """A home whose deployed processes end with the test."""
    try:
        haproxy.binary()
    except SlipwayError as error:
        pytest.skip(str(error))
    yield slipway
    for part in ("blue", "green", "haproxy"):
        stop(marked(f"{slipway.home}:target:local:{part}"), grace=2.0)


def register(slipway: Slipway, seed: int, tamper: str = "") -> str:
    """An approved version of `ship` with random weights; `tamper` is added to what it is said to have answered."""
    settings = Settings(SLIPWAY_HOME=slipway.home)
    store, folder = open_store(settings.store), slipway.folder / f"version-{seed}"
    tokenizer = Tokenizer.train(["The ship waits for the tide, and the old captain follows the northern light."] * 3, 300)
    model = new_model(preset("llama-tiny", vocabulary=320, context_length=128)).eval()
    model.initialise(seed)
    write_package(folder / "package", model, tokenizer)
    package = publish(store, f"runs/pretrain-{seed}-1/artifacts/package", folder / "package", {})
    golden = golden_completions(model, tokenizer, ["The ship", "A cold wind"], max_tokens=16)
    golden[-1]["text"] += tamper
    evidence = {"format": 1, "package": package.version, "champion": None, "gates": [], "golden": golden}
    (folder / "evidence").mkdir()
    (folder / "evidence/evidence.json").write_text(json.dumps(evidence))
    measured = publish(store, f"runs/evaluate-{seed}-1/artifacts/evidence", folder / "evidence", {})
    tags = {
        "review.status": "approved",
        "gates": "passed",
        "package.version": package.version,
        "evidence": measured.uri,
        "evidence.sha256": measured.files["evidence.json"]["sha256"],
    }
    return Registry(settings.tracking_uri).register("ship", package.uri, tags=tags).uri


def only(slipway: Slipway) -> dict[str, Any]:
    (target,) = slipway("status", "--json").json()["targets"]
    found: dict[str, Any] = target
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_versions_come_fail_and_go_back_and_no_request_is_lost(quay: Slipway) -> None:
    quay.home.mkdir()
    connect(f"sqlite:///{quay.home / 'mlflow.db'}")
    first, second, wrong, damaged = register(quay, 1), register(quay, 2), register(quay, 3, tamper="!"), register(quay, 4)
    weights = quay.home / "store/runs/pretrain-4-1/artifacts/package/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")

    planned = quay("deploy", first, "--plan", "--json")
    assert planned.code == 0, planned.err
    assert "llm.serving" in str(planned.json()["steps"])
    assert not (quay.home / "targets").exists(), "a plan starts nothing"
    nothing = quay("rollback", "local", "--json")
    assert (nothing.code, nothing.json()["error"]["code"]) == (2, "bad-input")

    deployed = quay("deploy", first, "--json")
    assert deployed.code == 0, deployed.err
    port = int(deployed.json()["url"].rpartition(":")[2])
    with load(port, clients=3, body=ASKED) as seen:
        again = quay("deploy", second, "--to", "local", "--json", "--reason", "better")
        assert again.code == 0, again.err
        assert (again.json()["model"], again.json()["previous"]["model"]) == (second, first)
        refused = quay("deploy", wrong, "--json")
        assert refused.code == 3, refused.err
        assert "golden answer 2 of 2 differs" in refused.json()["error"]["what"]
        broken = quay("deploy", damaged, "--json")
        assert (broken.code, broken.json()["error"]["code"]) == (2, "damaged")
        assert (only(quay)["model"], only(quay)["state"]) == (second, "serving")
        back = quay("rollback", "local", "--json", "--reason", "worse")
        assert (back.code, back.json()["model"]) == (0, first)
    assert seen.failures == []
    assert sum(seen.answers.values()) > 20
    print("requests:", sum(seen.answers.values()), "longest to a first token:", round(seen.longest, 2))  # noqa: T201
    print({name: document.json()["seconds"] for name, document in {"deploy": again, "rollback": back}.items()})  # noqa: T201

    entries = Ledger.of(Settings(SLIPWAY_HOME=quay.home)).entries()
    assert [(entry.action, entry.subject["model"]) for entry in entries] == [
        ("deploy", first),
        ("deploy", second),
        ("rollback", first),
    ]
    assert only(quay)["serves"] == entries[0].subject["package"]
    down = quay("down", "--json")
    assert (down.code, down.json()["stopped"]) == (0, ["local"])
    assert (only(quay)["state"], only(quay)["model"]) == ("stopped", first)
