"""Releases: the gates alone decide or a person does; a policy never overrules a person, and waiting for one stops nothing else."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from flows import review, stages
from flows.decision import decide
from flows.pipeline import session as walking
from flows.pipeline.session import SESSION, Session, Walked, verdict
from flows.pipeline.stage import Reference, Stage
from flows.pipeline.tasks import ended
from flows.recipes.recipes import ReviewRecipe
from flows.recipes.sections import ReleaseConfig
from infra.registry import ModelVersion
from infra.store.errors import AwaitingReviewError, RefusedError
from infra.tracking.client import connect
from tests.flows.candidates import FAILED, PASSED, Quay

AUTOMATIC, NAMED = ReleaseConfig(policy="automatic"), ReleaseConfig(policy="named")
ONE, TWO = "models:/ship/1", "models:/ship/2"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database, migrated once for all tests here."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    connect(f"sqlite:///{path}")
    return path


@pytest.fixture
def quay(tmp_path: Path, database: Path) -> Quay:
    return Quay.made(tmp_path / "home", database)


def package(version: ModelVersion) -> str:
    return version.tags["package.version"]


def stage(config: ReleaseConfig, version: ModelVersion) -> Stage:
    reference = Reference(f"runs/{version.source.split('/runs/')[1]}", package(version))
    return stages.release(config, version.uri, reference, version.tags["evidence.sha256"])


def walk(quay: Quay, config: ReleaseConfig, *versions: ModelVersion, planning: bool = False) -> list[Walked]:
    session = Session(quay.settings, quay.store, planning=planning)
    return within(session, lambda: [walking.walk(stage(config, version)) for version in versions])


def within(session: Session, call: Callable[[], list[Walked]]) -> list[Walked]:
    token = SESSION.set(session)
    try:
        return call()
    finally:
        SESSION.reset(token)


def release(quay: Quay, config: ReleaseConfig, version: ModelVersion, *, planning: bool = False) -> Walked:
    (walked,) = walk(quay, config, version, planning=planning)
    return walked


def decided(quay: Quay, model: str, action: str) -> None:
    decide(quay.desk(), model, "approve" if action == "approve" else "reject", who="ann@quay", why="I looked")


def test_a_version_whose_gates_passed_is_released_by_the_policy_and_the_second_run_reuses_that(quay: Quay) -> None:
    version = quay.candidate("one", PASSED)
    assert release(quay, AUTOMATIC, version, planning=True).state == "would run"
    released = release(quay, AUTOMATIC, version)
    assert (released.state, released.result["champion"], released.result["who"]) == ("done", ONE, "policy:automatic")
    assert quay.aliases() == {"champion": 1}
    assert quay.ledger.entries()[0].why == "gates passed: better"
    assert release(quay, AUTOMATIC, version).state == "reused"
    assert len(quay.ledger.entries()) == 1


def test_a_version_whose_gates_failed_is_rejected_on_record_once_and_the_flow_ends_refused(quay: Quay) -> None:
    version = quay.candidate("one", FAILED)
    for _ in range(2):
        refused = release(quay, AUTOMATIC, version)
        assert (refused.state, refused.why) == ("refused", ("gates failed: better (2.0 against 1.0)",))
        assert isinstance(verdict([refused]), RefusedError)
    assert quay.decided() == [("reject", ONE, "policy:automatic")]
    assert quay.statuses() == {1: "rejected"}
    assert quay.aliases() == {}


def test_better_evidence_lifts_what_the_policy_rejected(quay: Quay) -> None:
    version = quay.candidate("one", FAILED)
    release(quay, AUTOMATIC, version)
    again = quay.candidate("two", PASSED)
    file = quay.evidence_file("two")
    file.write_text(file.read_text().replace(package(again), package(version)))
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    tags = {"gates": "passed", "evidence": again.tags["evidence"], "evidence.sha256": sha256}
    quay.registry.set_tags(version, tags)
    assert release(quay, AUTOMATIC, quay.registry.version(ONE)).state == "done"
    assert quay.aliases() == {"champion": 1}


def test_gates_against_an_older_champion_do_not_release(quay: Quay) -> None:
    one, two = quay.candidate("one", PASSED), quay.candidate("two", PASSED)  # measured at the same time: beside no champion
    assert release(quay, AUTOMATIC, one).state == "done"
    stale = release(quay, AUTOMATIC, two)
    assert stale.state == "refused"
    assert stale.why == ("it was not measured beside the champion, models:/ship/1: gates against another one prove nothing",)
    assert quay.statuses() == {1: "approved", 2: "candidate"}, "that is no verdict on the model"
    three = quay.candidate("three", PASSED, champion=package(one))
    assert release(quay, AUTOMATIC, three).state == "done"
    assert quay.aliases() == {"champion": 3, "previous": 1}


def test_a_policy_does_not_release_what_a_person_rejected(quay: Quay) -> None:
    version = quay.candidate("one", PASSED)
    decided(quay, ONE, "reject")
    refused = release(quay, AUTOMATIC, version)
    assert refused.why == ("ann@quay rejected it (I looked), and a policy does not overrule a person",)
    assert quay.statuses() == {1: "rejected"}


def test_a_policy_does_not_bring_back_what_a_person_replaced(quay: Quay) -> None:
    one = quay.candidate("one", PASSED)
    release(quay, AUTOMATIC, one)
    two = quay.candidate("two", PASSED, champion=package(one))
    release(quay, AUTOMATIC, two)
    decided(quay, ONE, "approve")  # the way back, by hand
    assert quay.aliases() == {"champion": 1, "previous": 2}
    refused = release(quay, AUTOMATIC, two)
    assert refused.why == ("ann@quay chose models:/ship/1 (I looked), and a policy does not overrule a person",)
    assert quay.aliases() == {"champion": 1, "previous": 2}


def test_a_release_that_was_replaced_is_not_reused(quay: Quay) -> None:
    one = quay.candidate("one", PASSED)
    release(quay, AUTOMATIC, one)
    release(quay, AUTOMATIC, quay.candidate("two", PASSED, champion=package(one)))
    planned = release(quay, AUTOMATIC, one, planning=True)
    assert (planned.state, planned.why) == ("would run", ("its output alias champion on models:/ship/1 is gone",))


def test_a_person_is_awaited_until_one_decides_and_then_it_goes_on(quay: Quay) -> None:
    version = quay.candidate("one", PASSED)
    assert release(quay, NAMED, version, planning=True).state == "awaiting review"
    release(quay, NAMED, version)
    waiting = release(quay, NAMED, version)
    assert (waiting.state, waiting.why, waiting.record) == ("awaiting review", ("a person must decide",), None)
    error = verdict([waiting])
    assert isinstance(error, AwaitingReviewError)
    assert (error.exit_code, error.code, error.where) == (4, "awaiting-review", ONE)
    assert f"slipway review approve {ONE} --reason" in error.mend
    assert quay.decided() == []
    decide(quay.desk(), ONE, "request-changes", who="ann@quay", why="more data")
    assert release(quay, NAMED, version).why == ("ann@quay asks for changes: more data",)
    decided(quay, ONE, "approve")
    assert release(quay, NAMED, version).state == "done"
    assert release(quay, NAMED, version).state == "reused"
    assert len(quay.decided()) == 2


def test_a_person_who_rejects_ends_the_waiting(quay: Quay) -> None:
    version = quay.candidate("one", PASSED)
    decided(quay, ONE, "reject")
    assert release(quay, NAMED, version).why == ("ann@quay rejected it: I looked",)


def test_the_recipe_says_who_may_decide(quay: Quay) -> None:
    version = quay.candidate("one", PASSED)
    release(quay, replace(NAMED, reviewers=("eve",)), version)
    with pytest.raises(RefusedError, match="ann@quay is none of its reviewers"):
        decided(quay, ONE, "approve")


def test_a_model_that_waits_does_not_stop_the_others_and_the_flow_ends_as_awaiting_review(quay: Quay) -> None:
    boat, ship = quay.candidate("boat", PASSED, name="boat"), quay.candidate("one", PASSED)
    decided(quay, ONE, "approve")
    raft = quay.candidate("raft", PASSED, name="raft")
    walked = walk(quay, NAMED, boat, ship, raft)
    assert [each.state for each in walked] == ["awaiting review", "done", "awaiting review"]
    error = verdict(walked)
    assert isinstance(error, AwaitingReviewError)
    assert error.what.splitlines()[1:] == [
        "  - models:/boat/1: a person must decide",
        "  - models:/raft/1: a person must decide",
    ]
    session = Session(quay.settings, quay.store, walked=walked)
    token = SESSION.set(session)
    try:
        state = ended()
    finally:
        SESSION.reset(token)
    assert state is not None
    assert (state.name, state.is_completed()) == ("AwaitingReview", True)


def test_a_refusal_is_told_before_a_wait(quay: Quay) -> None:
    walked = walk(quay, NAMED, quay.candidate("boat", PASSED, name="boat"))
    walked += walk(quay, AUTOMATIC, quay.candidate("one", FAILED))
    assert isinstance(verdict(walked), RefusedError)


def test_the_form_ends_in_the_same_decision_and_is_not_taken_twice(quay: Quay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(review, "run", walking.walk)  # without Prefect around it
    quay.candidate("one", PASSED)
    recipe = ReviewRecipe(model=ONE, decision="approve", reason="reads well", reviewer="eve@form")

    def submit() -> Walked:
        session = Session(quay.settings, quay.store)
        return within(session, lambda: [review.review.fn(recipe)])[0]

    assert submit().state == "done"
    assert quay.decided() == [("approve", ONE, "eve@form")]
    assert quay.aliases() == {"champion": 1}
    assert submit().state == "reused"
    schema = ReviewRecipe.model_json_schema()
    assert schema["required"] == ["model", "decision", "reason"]
    assert schema["properties"]["decision"]["enum"] == ["approve", "reject"]
    assert schema["properties"]["reason"]["minLength"] == 1
