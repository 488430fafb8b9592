"""Where every door to a release ends: checks, one entry in the ledger, then the registry is made to say what the ledger says."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

from flows.evidence import Evidence, evidence_of
from flows.standing import STATUS, Standing, heal
from infra.anchors import RegistryAnchor
from infra.ledger import Entry, Ledger
from infra.registry import ModelVersion, Registry
from infra.settings import Settings
from infra.store import open_store
from infra.store.errors import InputError, RefusedError
from infra.store.lease import Lease, lease
from infra.store.protocol import Store

Action = Literal["approve", "reject", "request-changes"]
POLICY: Final = "policy:"  # how the name of a decider begins who is no person
_PATIENCE = 15.0  # seconds to wait for another decider: a decision takes a few


@dataclass(frozen=True)
class Decision:
    """What came of a decision. `entry` is in force now; `changed` is False when it was so before."""

    model: str
    action: str
    status: str
    entry: Entry
    changed: bool
    champion: str
    previous: str

    def document(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "decision": self.action,
            "review_status": self.status,
            "changed": self.changed,
            "who": self.entry.who,
            "why": self.entry.why,
            "entry": self.entry.number,
            "time": self.entry.time,
            "champion": self.champion or None,
            "previous": self.previous or None,
        }


@dataclass(frozen=True)
class Desk:
    """Where decisions are made: a store, its ledger and a registry."""

    store: Store
    registry: Registry
    ledger: Ledger
    lease_seconds: float = 60.0

    @classmethod
    def of(cls, settings: Settings, store: Store | None = None) -> "Desk":
        store = store or open_store(settings.store)
        return cls(store, Registry(settings.tracking_uri), Ledger.of(settings, store), settings.lease_seconds)

    def standing(self, name: str) -> Standing:
        """As the ledger has it; changes nothing."""
        return Standing.of(name, self.ledger.entries(), self.registry.versions(name))

    @contextmanager
    def case(self, model: str, *, wait: float = _PATIENCE) -> Iterator["Case"]:
        """The decision about one version, which nobody else makes meanwhile; what a crash left undone is done first.

        Raises InputError when there is no such version, LeaseHeldError, and LedgerError when the ledger is not as it was written.
        """
        version = self.registry.version(model)
        with lease(self.store, f"review-{version.name}", ttl=self.lease_seconds, wait=wait) as held:
            anchor = RegistryAnchor(self.registry, version.name)
            self.ledger.check(anchor)
            standing, mended = self._heal(version.name)
            self.ledger.anchor(anchor)
            yield Case(self, held, standing, standing.version(version.version), tuple(mended))

    def _heal(self, name: str) -> tuple[Standing, list[str]]:
        standing = self.standing(name)
        mended = heal(self.registry, standing)
        return (self.standing(name) if mended else standing), mended


@dataclass
class Case:
    """One version on the desk, under a lease."""

    desk: Desk
    held: Lease
    standing: Standing
    version: ModelVersion
    mended: tuple[str, ...] = ()

    @property
    def is_champion(self) -> bool:
        return self.standing.champion == self.version.version

    def evidence(self) -> Evidence:
        return evidence_of(self.desk.store, self.version)

    def decide(self, action: Action, *, who: str, why: str) -> Decision:
        """Raises RefusedError with all that stands against it; repeating what is in force already changes nothing."""
        evidence = self.evidence()
        last = self.standing.last(self.version.version)
        if action == "approve":
            _check_approval(self.version, evidence)
            if last is not None and self.is_champion:
                return self._decision(last, changed=False)
        elif self.is_champion:
            raise RefusedError(
                f"the champion cannot be {'rejected' if action == 'reject' else 'sent back'}: it is what others are told to use",
                where=self.version.uri,
                mend="Approve another version of it first (`slipway review list`), then decide on this one.",
            )
        elif action == "reject" and last is not None and last.action == "reject" and is_person(last.who) >= is_person(who):
            return self._decision(last, changed=False)
        self.held.check()
        entry = self.desk.ledger.append(
            action, subject=self._subject(evidence), who=who, why=why, facts=self._facts(action, evidence)
        )
        self.standing, _ = self.desk._heal(self.version.name)
        self.desk.ledger.anchor(RegistryAnchor(self.desk.registry, self.version.name))
        return self._decision(entry, changed=True)

    def _decision(self, entry: Entry, *, changed: bool) -> Decision:
        standing = self.standing
        return Decision(
            model=self.version.uri,
            action=entry.action,
            status=STATUS[entry.action],
            entry=entry,
            changed=changed,
            champion=standing.uri(standing.champion),
            previous=standing.uri(standing.previous),
        )

    def in_force(self) -> Decision | None:
        """The decision that stands on this version, if any."""
        last = self.standing.last(self.version.version)
        return None if last is None else self._decision(last, changed=False)

    def _subject(self, evidence: Evidence) -> dict[str, str]:
        package = self.version.tags.get("package.version", "")
        return {"model": self.version.uri, "package": package, "evidence_sha256": evidence.sha256}

    def _facts(self, action: Action, evidence: Evidence) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "gates": [{key: gate[key] for key in ("name", "observed", "passed")} for gate in evidence.gates],
            "judged_against": evidence.document.get("champion"),
            "registered_by": self.version.tags.get("registered.by", ""),
        }
        if evidence.problems:
            facts["evidence_problems"] = list(evidence.problems)
        if action == "approve":
            facts["replaces"] = self.standing.uri(self.standing.champion)
        return facts


def is_person(who: str) -> bool:
    """Whether a decider is no policy: what a person says stands over it."""
    return not who.startswith(POLICY)


def decide(desk: Desk, model: str, action: Action, *, who: str, why: str, wait: float = _PATIENCE) -> Decision:
    """A person's decision on `models:/NAME/VERSION` or `models:/NAME@ALIAS`, on record before it takes effect.

    why: a reason, which nobody may leave out. Raises RefusedError (exit 3) when gates or reviewers stand against it.
    """
    if not why.strip():
        raise InputError("a decision needs a reason", where=model, mend="Say in a sentence why, with --reason.")
    if not is_person(who):
        raise InputError(
            f"{who!r} is no person's name", where="SLIPWAY_USER", mend=f"Choose a name that does not begin with {POLICY}."
        )
    with desk.case(model, wait=wait) as case:
        reviewers = [name for name in case.version.tags.get("review.reviewers", "").split(",") if name]
        if reviewers and not {who, who.partition("@")[0]} & {*reviewers}:
            raise RefusedError(
                f"{who} is none of its reviewers",
                where=case.version.uri,
                mend=f"One of these decides: {', '.join(reviewers)}. Names are taken on trust (SLIPWAY_USER).",
            )
        return case.decide(action, who=who, why=why.strip())


def _check_approval(version: ModelVersion, evidence: Evidence) -> None:
    if evidence.problems:
        raise RefusedError(
            f"cannot be approved: {'; '.join(evidence.problems)}",
            where=version.uri,
            mend="Measure and register it again (`slipway run register --force evaluate`): only evidence that holds is approved.",
        )
    if evidence.failed:
        raise RefusedError(
            f"cannot be approved: gates failed: {'; '.join(evidence.failed)}",
            where=version.uri,
            mend=f"`slipway review show {version.uri}` shows what was measured. A better model mends it, or other gates.",
        )
