"""Decisions: checked, on record before they take effect, one at a time, and whole after any crash."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.decision import Decision, decide
from flows.dossier import read_dossier
from flows.standing import drifts
from infra.anchors import RegistryAnchor
from infra.ledger import LedgerError
from infra.registry import Registry
from infra.store.errors import InputError, LeaseHeldError, RefusedError, StoreError
from infra.store.faulty import Died, Fault, FaultyStore
from infra.tracking.client import TrackingError, connect
from tests.flows.candidates import FAILED, PASSED, Quay

ONE, TWO, THREE = "models:/ship/1", "models:/ship/2", "models:/ship/3"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database, migrated once for all tests here."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    connect(f"sqlite:///{path}")
    return path


@pytest.fixture
def quay(tmp_path: Path, database: Path) -> Quay:
    return Quay.made(tmp_path / "home", database)


def approve(quay: Quay, model: str, why: str = "reads well") -> Decision:
    return decide(quay.desk(), model, "approve", who="ann@quay", why=why)


def reject(quay: Quay, model: str, why: str = "stammers") -> Decision:
    return decide(quay.desk(), model, "reject", who="ann@quay", why=why)


def refused(call: Callable[[], Any]) -> RefusedError:
    with pytest.raises(RefusedError) as raised:
        call()
    assert raised.value.exit_code == 3
    return raised.value


def test_an_approved_version_is_the_champion_and_who_and_why_are_on_record(quay: Quay) -> None:
    quay.candidate("one", PASSED)
    decision = approve(quay, ONE)
    assert (decision.changed, decision.champion, decision.previous) == (True, ONE, "")
    assert quay.aliases() == {"champion": 1}
    (entry,) = quay.ledger.entries()
    tags = quay.registry.version(ONE).tags
    assert (entry.action, entry.who, entry.why) == ("approve", "ann@quay", "reads well")
    assert entry.subject == {"model": ONE, "package": tags["package.version"], "evidence_sha256": tags["evidence.sha256"]}
    assert entry.facts["gates"] == [{"name": "better", "observed": "1.0 against 2.0", "passed": True}]
    assert entry.facts["registered_by"] == "bob@quay"
    assert {name: tags[name] for name in ("review.status", "review.by", "review.reason", "review.entry")} == {
        "review.status": "approved",
        "review.by": "ann@quay",
        "review.reason": "reads well",
        "review.entry": "1",
    }


def test_the_champion_of_before_is_kept_as_previous(quay: Quay) -> None:
    for word, model in (("one", ONE), ("two", TWO), ("three", THREE)):
        quay.candidate(word, PASSED)
        approve(quay, model)
    assert quay.aliases() == {"champion": 3, "previous": 2}
    assert approve(quay, ONE, "three breaks").previous == THREE
    assert quay.aliases() == {"champion": 1, "previous": 3}
    assert quay.ledger.entries()[-1].facts["replaces"] == THREE


def test_approving_twice_says_so_and_changes_nothing(quay: Quay) -> None:
    quay.candidate("one", PASSED)
    approve(quay, ONE)
    again = approve(quay, "models:/ship@champion", "once more")
    assert (again.changed, again.entry.number, again.entry.why) == (False, 1, "reads well")
    assert len(quay.ledger.entries()) == 1


def test_what_was_never_measured_cannot_be_approved(quay: Quay) -> None:
    quay.candidate("one", tags=False)
    error = refused(lambda: approve(quay, ONE))
    assert error.what == "cannot be approved: its gates have not run"
    assert quay.aliases() == {}
    assert quay.decided() == []


def test_a_version_whose_gates_failed_cannot_be_approved(quay: Quay) -> None:
    quay.candidate("one", PASSED, FAILED)
    assert refused(lambda: approve(quay, ONE)).what == "cannot be approved: gates failed: better (2.0 against 1.0)"
    assert quay.decided() == []


def test_evidence_that_was_changed_is_not_believed(quay: Quay) -> None:
    quay.candidate("one", FAILED)
    quay.registry.set_tags(quay.registry.version(ONE), {"gates": "passed"})
    said = "cannot be approved: the registry says its gates passed, the evidence says they failed"
    assert refused(lambda: approve(quay, ONE)).what == said
    file = quay.evidence_file("one")
    file.write_text(file.read_text().replace('"passed": false', '"passed": true'))
    assert "its evidence was changed: evidence.json has sha256" in refused(lambda: approve(quay, ONE)).what
    assert not read_dossier(quay.desk(), ONE).document()["evidence"]["ok"]
    file.unlink()
    assert "its evidence cannot be read: no such file in the store" in refused(lambda: approve(quay, ONE)).what
    assert quay.decided() == []


def test_evidence_about_another_package_proves_nothing(quay: Quay) -> None:
    quay.candidate("one", PASSED)
    other = quay.candidate("two", PASSED)
    kept = {name: other.tags[name] for name in ("evidence", "evidence.sha256")}
    quay.registry.set_tags(quay.registry.version(ONE), kept)
    assert f"the evidence is about {other.tags['package.version']}" in refused(lambda: approve(quay, ONE)).what


def test_a_rejected_version_loses_nothing_and_may_be_approved_later_with_a_reason(quay: Quay) -> None:
    version = quay.candidate("one", PASSED)
    before = quay.store.root / "runs/pretrain-one-1/artifacts/package/word.txt"
    assert reject(quay, ONE).status == "rejected"
    assert not reject(quay, ONE, "again").changed
    assert before.read_text() == "one"
    assert quay.registry.version(ONE).source == version.source
    assert approve(quay, ONE, "it was the prompt").champion == ONE
    assert quay.decided() == [("reject", ONE, "ann@quay"), ("approve", ONE, "ann@quay")]
    assert quay.statuses() == {1: "approved"}


def test_the_champion_is_not_rejected_before_another_is_approved(quay: Quay) -> None:
    for word, model in (("one", ONE), ("two", TWO)):
        quay.candidate(word, PASSED)
        approve(quay, model)
    error = refused(lambda: reject(quay, TWO))
    assert "Approve another version of it first" in error.mend
    assert refused(lambda: decide(quay.desk(), TWO, "request-changes", who="ann@quay", why="no")).exit_code == 3
    assert quay.aliases() == {"champion": 2, "previous": 1}
    approve(quay, ONE)
    assert reject(quay, TWO).changed
    assert quay.aliases() == {"champion": 1}, "a rejected version is nothing to go back to"
    assert quay.statuses() == {1: "approved", 2: "rejected"}


def test_asking_for_changes_leaves_a_candidate_with_the_wish_on_record(quay: Quay) -> None:
    quay.candidate("one", PASSED)
    decision = decide(quay.desk(), ONE, "request-changes", who="ann@quay", why="more data")
    assert decision.status == "candidate"
    assert quay.statuses() == {1: "candidate"}
    assert quay.registry.version(ONE).tags["review.reason"] == "more data"
    assert approve(quay, ONE).changed


def test_a_decision_has_a_reason_and_a_person(quay: Quay) -> None:
    quay.candidate("one", PASSED)
    with pytest.raises(InputError, match="a decision needs a reason"):
        approve(quay, ONE, "  ")
    with pytest.raises(InputError, match="is no person's name"):
        decide(quay.desk(), ONE, "approve", who="policy:automatic", why="because")
    with pytest.raises(InputError, match="has no version 7"):
        approve(quay, "models:/ship/7")
    assert quay.decided() == []


def test_only_those_who_are_named_decide(quay: Quay) -> None:
    version = quay.candidate("one", PASSED)
    quay.registry.set_tags(version, {"review.reviewers": "eve,bob@quay"})
    error = refused(lambda: approve(quay, ONE))
    assert (error.what, "eve, bob@quay" in error.mend) == ("ann@quay is none of its reviewers", True)
    assert decide(quay.desk(), ONE, "approve", who="eve@elsewhere", why="fine").changed


def test_two_deciders_do_not_interleave(quay: Quay) -> None:
    quay.candidate("one", PASSED)
    with quay.desk().case(ONE), pytest.raises(LeaseHeldError):
        decide(quay.desk(), ONE, "approve", who="bob@quay", why="me too", wait=0)
    assert quay.decided() == []


def test_nothing_is_decided_on_a_ledger_whose_tail_was_cut_off(quay: Quay) -> None:
    quay.candidate("one", PASSED)
    quay.candidate("two", PASSED)
    approve(quay, ONE)
    (quay.store.root / "ledger/00000001.json").unlink()
    with pytest.raises(LedgerError, match="entry 1 was cut off the end: .*ledger-heads.json keeps entry 1 as a head"):
        approve(quay, TWO)
    (quay.home / "ledger-heads.json").unlink()
    with pytest.raises(
        LedgerError, match="entry 1 was cut off the end: the tag ledger.head of models:/ship keeps entry 1 as a head"
    ):
        approve(quay, TWO)
    assert quay.ledger.verify(*RegistryAnchor.every(quay.registry))[0].kind == "truncated"
    assert quay.aliases() == {"champion": 1}


def test_an_alias_that_a_hand_moved_is_told_and_moved_back_by_the_next_decision(quay: Quay) -> None:
    for word in ("one", "two", "three"):
        quay.candidate(word, PASSED)
    approve(quay, ONE)
    quay.registry.set_alias("ship", "champion", 2)
    assert [drift.what for drift in drifts(quay.desk().standing("ship"))] == [
        "alias champion of models:/ship is at version 2, the ledger has it at version 1"
    ]
    reject(quay, THREE)
    assert quay.aliases() == {"champion": 1}


def test_a_registry_made_anew_does_not_inherit_the_decisions_on_other_packages(quay: Quay, database: Path) -> None:
    quay.candidate("one", PASSED)
    approve(quay, ONE)
    (quay.home / "mlflow.db").write_bytes(database.read_bytes())
    quay.candidate("two", PASSED)  # it gets number 1
    quay.candidate("three", PASSED)
    standing = quay.desk().standing("ship")
    assert (standing.champion, standing.status(1)) == (None, "candidate")
    assert approve(quay, TWO).champion == TWO


def test_a_reviewer_sees_what_changed_against_the_champion(quay: Quay) -> None:
    quay.candidate("one", PASSED)
    approve(quay, ONE)
    quay.candidate("three", PASSED)
    document = read_dossier(quay.desk(), TWO).document()
    assert document["champion"] == ONE
    assert document["metrics"] == {"bits_per_byte.model": {"this": 5.0, "champion": 3.0}}
    assert document["lineage_differences"] == ['run: "pretrain-one-1" -> "pretrain-three-1"']
    assert document["evidence"]["ok"]
    assert document["decisions"] == []


@pytest.mark.parametrize("fault", list(Fault), ids=lambda fault: fault.name.lower())
def test_after_a_crash_at_any_write_the_next_decision_finds_or_makes_it_whole(tmp_path: Path, database: Path, fault: Fault) -> None:
    def prepared(place: str) -> Quay:
        quay = Quay.made(tmp_path / place, database)
        for word in ("one", "two"):
            quay.candidate(word, PASSED)
        approve(quay, ONE)
        return quay

    counting = FaultyStore(prepared("undisturbed").store)
    decide(Quay(tmp_path / "undisturbed").desk(counting), TWO, "approve", who="ann@quay", why="reads well")
    assert counting.writes == 4  # the lease, tried and taken over; the entry; the lease given back
    for at in range(1, counting.writes + 1):
        quay = prepared(str(at))
        with pytest.raises((Died, StoreError)):
            decide(quay.desk(FaultyStore(quay.store, at=at, fault=fault)), TWO, "approve", who="ann@quay", why="reads well")
        assert approve(quay, TWO).champion == TWO
        assert quay.decided() == [("approve", ONE, "ann@quay"), ("approve", TWO, "ann@quay")], f"write {at}"
        assert quay.aliases() == {"champion": 2, "previous": 1}
        assert quay.statuses() == {1: "approved", 2: "approved"}
        assert quay.ledger.verify(*RegistryAnchor.every(quay.registry)) == []


class OnceAway(Registry):
    """A registry that cannot be reached at its n-th write, counted from 1; afterwards it can."""

    def __init__(self, tracking_uri: str, at: int) -> None:
        super().__init__(tracking_uri)
        self.at, self.writes = at, 0

    def _write(self) -> None:
        self.writes += 1
        if self.writes == self.at:
            raise TrackingError("away for a moment", where=self.tracking_uri)

    def set_tags(self, *given: Any) -> None:
        self._write()
        super().set_tags(*given)

    def set_alias(self, *given: Any) -> None:
        self._write()
        super().set_alias(*given)

    def set_model_tag(self, *given: Any) -> None:
        self._write()
        super().set_model_tag(*given)


def test_a_registry_that_fails_after_the_entry_is_brought_in_line_by_the_next_decision(tmp_path: Path, database: Path) -> None:
    for at in range(1, 5):  # the tags, two aliases, the anchor
        quay = Quay.made(tmp_path / str(at), database)
        for word in ("one", "two", "three"):
            quay.candidate(word, PASSED)
        approve(quay, ONE)
        away = OnceAway(quay.settings.tracking_uri, at)
        with pytest.raises(TrackingError, match="away for a moment"):
            decide(quay.desk(registry=away), TWO, "approve", who="ann@quay", why="reads well")
        assert quay.decided()[-1] == ("approve", TWO, "ann@quay"), "the ledger is the truth"
        reject(quay, THREE)  # any decision on the model heals
        assert quay.aliases() == {"champion": 2, "previous": 1}, f"write {at}"
        assert quay.statuses() == {1: "approved", 2: "approved", 3: "rejected"}
        assert len(quay.decided()) == 3
        assert RegistryAnchor(quay.registry, "ship").read() is not None
        assert quay.ledger.verify(*RegistryAnchor.every(quay.registry)) == []
