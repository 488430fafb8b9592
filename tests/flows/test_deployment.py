"""Deployments as flows: only what a review approved gets onto a target, and a result is reused only while it serves."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest

from flows import deployment, stages
from flows.deploy import deploy, release_and_deploy
from flows.pipeline.records import Record
from flows.pipeline.session import SESSION, Session, Walked, walk
from flows.pipeline.stage import Reference, Stage
from flows.recipes.recipes import DeployRecipe
from flows.recipes.sections import RegistrationConfig, ReleaseConfig, RolloutConfig
from flows.rollback import rollback
from flows.work import deploy as deploy_work
from flows.work import rollback as rollback_work
from infra.processes import marked, stop
from infra.registry import ModelVersion
from infra.store.errors import InputError, RefusedError
from infra.store.fingerprint import fingerprint
from infra.store.folder import FolderStore
from infra.store.liveness import is_alive
from infra.store.manifest import publish
from infra.targets.local import Target
from infra.tracking.client import connect
from tests.flows.candidates import PASSED, Quay
from tests.infra.targets.conftest import stand_in


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database, migrated once for all tests here."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    connect(f"sqlite:///{path}")
    return path


@pytest.fixture
def quay(tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Quay]:
    made = Quay.made(tmp_path / "home", database)
    for work in (deploy_work, rollback_work):
        monkeypatch.setattr(work, "Target", partial(Target, command=stand_in))
    token = SESSION.set(Session(made.settings, made.store))
    yield made
    SESSION.reset(token)
    for part in ("blue", "green", "haproxy"):
        stop(marked(f"{made.home}:target:local:{part}"), grace=1.0)


def version(
    quay: Quay, number: int, *, status: str = "approved", golden: bool = True, store: FolderStore | None = None
) -> ModelVersion:
    """A registered version that answers `answer <number>`, and evidence with what it has to answer."""
    folder, told = quay.home / f"making-{number}", {"answer": f"answer {number}", "probability": 1.0}
    (folder / "package").mkdir(parents=True)
    (folder / "evidence").mkdir()
    hash_ = fingerprint(told)[:16]
    (folder / "package/behaviour.json").write_text(json.dumps({"claims": hash_, **told}))
    where = store or quay.store
    package = publish(where, f"runs/pretrain-{number}-1/artifacts/package", folder / "package", {}, version=hash_)
    answers = [{"kind": "completion", "prompt": "The", "max_tokens": 4, "text": told["answer"]}]
    evidence = {"format": 1, "package": hash_, "champion": None, "gates": [PASSED], **({"golden": answers} if golden else {})}
    (folder / "evidence/evidence.json").write_text(json.dumps(evidence))
    measured = publish(where, f"runs/evaluate-{number}-1/artifacts/evidence", folder / "evidence", {})
    tags = {
        "review.status": status,
        "gates": "passed",
        "package.version": hash_,
        "evidence": measured.uri,
        "evidence.sha256": measured.files["evidence.json"]["sha256"],
    }
    return quay.registry.register("ship", package.uri, tags=tags)


def stage(chosen: ModelVersion, **options: Any) -> Stage:
    package = Reference(f"runs/{chosen.source.split('/runs/')[1]}", chosen.tags["package.version"])
    return stages.deploy("local", chosen.uri, package, chosen.tags["evidence.sha256"], **options)


def by_a_person(chosen: ModelVersion) -> Walked:
    """As `slipway deploy` walks."""
    return walk(stage(chosen, again=True))


def test_a_deployment_is_reused_while_its_target_serves_it_and_made_again_when_it_does_not(quay: Quay) -> None:
    chosen = version(quay, 1)
    done = walk(stage(chosen, reason="the first"))
    url = Target(quay.settings).record().url
    assert (done.state, done.result["model"], done.result["url"]) == ("done", "models:/ship/1", url)
    assert walk(stage(chosen)).state == "reused"
    (entry,) = quay.ledger.entries()
    assert (entry.action, entry.who, entry.why) == ("deploy", "ann@quay", "the first")
    assert entry.subject == {"target": "local", "model": "models:/ship/1", "package": chosen.tags["package.version"]}
    server = Target(quay.settings).record().server
    assert server is not None
    os.kill(server.process.pid, signal.SIGKILL)
    while is_alive(server.process):
        time.sleep(0.01)
    again = walk(stage(chosen))
    assert (again.state, again.why) == ("done", ("its output models:/ship/1 on local is gone",))
    assert Target(quay.settings).serves() == chosen.tags["package.version"]


def test_after_a_rollback_a_pipeline_does_not_put_the_version_back_but_a_person_may(quay: Quay) -> None:
    first, second = version(quay, 1), version(quay, 2)
    walk(stage(first))
    walk(stage(second))
    back = walk(stages.rollback("local", "worse"))
    assert (back.state, back.result["model"]) == ("done", first.uri)
    with pytest.raises(RefusedError, match="taken off local by a rollback"):
        walk(stage(second))
    assert by_a_person(second).result["model"] == second.uri
    assert walk(stages.rollback("local", "worse again")).state == "done", "a way back is never taken for gone already"
    assert [entry.action for entry in quay.ledger.entries()] == ["deploy", "deploy", "rollback", "deploy", "rollback"]


@pytest.mark.parametrize(("status", "what"), [("candidate", "no review has approved it"), ("rejected", "its review rejected it")])
def test_what_no_review_approved_is_refused_with_the_way_to_approve_it(quay: Quay, status: str, what: str) -> None:
    chosen = version(quay, 1, status=status)
    with pytest.raises(RefusedError, match=what) as caught:
        deployment.approved(chosen.uri)
    assert caught.value.exit_code == 3
    assert f"slipway review approve {chosen.uri}" in caught.value.mend
    with pytest.raises(RefusedError, match=what):
        walk(stage(chosen))
    assert Target(quay.settings).record().releases == ()


def test_a_version_approved_on_evidence_that_was_changed_is_refused(quay: Quay) -> None:
    chosen = version(quay, 1)
    evidence = quay.evidence_file("1")
    evidence.write_text(evidence.read_text().replace("answer 1", "answer 2"))
    with pytest.raises(RefusedError, match="its evidence was changed"):
        deployment.approved(chosen.uri)


def test_a_version_without_golden_answers_is_refused_unless_the_recipe_lets_it(quay: Quay) -> None:
    chosen = version(quay, 1, golden=False)
    with pytest.raises(RefusedError, match="no golden answers"):
        walk(stage(chosen))
    assert walk(stage(chosen, rollout=RolloutConfig(require_golden=False))).state == "done"


def test_a_folder_and_a_package_of_another_store_are_refused(quay: Quay, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="only a registered version is deployed, not a folder"):
        deployment.approved(str(tmp_path))
    elsewhere = version(quay, 1, store=FolderStore(tmp_path / "elsewhere"))
    with pytest.raises(InputError, match="not in the store in use"):
        deployment.approved(elsewhere.uri)


def walked(body: Callable[[Any], Any], recipe: Any, quay: Quay) -> list[Walked]:
    """A flow's body, walked as a plan."""
    session = Session(quay.settings, quay.store, planning=True)
    token = SESSION.set(session)
    try:
        body(recipe)
    finally:
        SESSION.reset(token)
    return session.walked


def test_the_flows_can_be_planned(quay: Quay) -> None:
    chosen = version(quay, 1)
    quay.registry.set_alias("ship", "champion", chosen.version)
    recipe = DeployRecipe(model="models:/ship@champion")
    assert [(each.stage.name, each.state) for each in walked(deploy.fn, recipe, quay)] == [("deploy", "would run")]
    with pytest.raises(InputError, match="nothing to roll back to"):
        walked(rollback.fn, recipe, quay)
    assert DeployRecipe(model="m", target="prod").problems() == [
        "target is 'prod': targets are `local`, and `local-NAME` for further ones on this machine"
    ]


@pytest.mark.parametrize(
    ("status", "policy", "target", "walked_to"),
    [
        ("approved", "automatic", "local", [("release", "would run"), ("deploy", "would run")]),
        ("approved", "automatic", "", [("release", "would run")]),
        ("candidate", "named", "local", [("release", "awaiting review")]),
    ],
)
def test_a_pipeline_deploys_what_was_released_and_nothing_else(
    quay: Quay, status: str, policy: Literal["automatic", "named"], target: str, walked_to: list[tuple[str, str]]
) -> None:
    chosen = version(quay, 1, status=status)
    inputs = stage(chosen).inputs
    registering = Stage("register", "flows.work.register:work", RegistrationConfig(name="ship"), inputs)
    result = {"model": chosen.uri}
    record = Record("register", "key", "run", 1, {}, {}, result, {}, {}, "quay", "2026-01-01T00:00:00+00:00", 0.0, 0.0)
    planning = Session(quay.settings, quay.store, planning=True)
    token = SESSION.set(planning)
    try:
        release_and_deploy(ReleaseConfig(policy=policy), Walked(registering, "done", (), record), target)
    finally:
        SESSION.reset(token)
    assert [(each.stage.name, each.state) for each in planning.walked] == walked_to
