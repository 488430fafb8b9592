"""The work of `release`: the gates decide, or a person has to. Both end in `flows.decision`."""

from flows.decision import POLICY, Case, Decision, Desk, is_person
from flows.door import awaited
from flows.pipeline.stage import Job, Outcome
from flows.stage_settings import Releasing
from infra.ledger import Entry
from infra.store.errors import AwaitingReviewError, RefusedError

AUTOMATIC = f"{POLICY}automatic"


def work(job: Job, config: Releasing) -> Outcome:
    desk = Desk.of(job.settings, job.store)
    with desk.case(config.model) as case:
        decision = _automatic(case) if config.policy == "automatic" else _named(case, config)
    return Outcome({}, {"name": config.name, "version": case.version.version, **decision.document()})


def _automatic(case: Case) -> Decision:
    """Approves what passed its gates against the champion of today. It never takes back what a person decided."""
    uri = case.version.uri
    _respect_people(case)
    evidence = case.evidence()
    if evidence.failed and not evidence.problems:
        failed = "; ".join(evidence.failed)
        if not case.is_champion:
            case.decide("reject", who=AUTOMATIC, why=f"gates failed: {failed}")
        raise RefusedError(
            f"gates failed: {failed}",
            where=uri,
            mend=f"`slipway review show {uri}` shows what was measured. A better model mends it, or other gates in the recipe.",
        )
    champion = case.standing.champion
    if champion is not None and not case.is_champion and not evidence.problems:
        package = case.standing.version(champion).tags.get("package.version")
        if evidence.document.get("champion") != package:
            raise RefusedError(
                f"it was not measured beside the champion, {case.standing.uri(champion)}: gates against another one prove nothing",
                where=uri,
                mend="Run the flow that measures and registers it again: the champion of today is then measured beside it.",
            )
    passed = ", ".join(gate["name"] for gate in evidence.gates)
    return case.decide("approve", who=AUTOMATIC, why=f"gates passed: {passed}" if passed else "no gate was asked for")


def _respect_people(case: Case) -> None:
    if case.is_champion:
        return
    last = case.standing.last(case.version.version)
    approval, now = case.standing.approval(case.version.version), case.standing.approval(case.standing.champion)
    said: Entry | None = None
    if last is not None and last.action != "approve" and is_person(last.who):
        said = last
    elif approval is not None and now is not None and is_person(now.who):
        said = now  # a person put another version in its place
    if said is not None:
        what = {"reject": "rejected it", "request-changes": "asked for changes"}.get(said.action, f"chose {said.subject['model']}")
        raise RefusedError(
            f"{said.who} {what} ({said.why}), and a policy does not overrule a person",
            where=case.version.uri,
            mend=f"`slipway review approve {case.version.uri} --reason ...`, if it is to be the champion after all.",
        )


def _named(case: Case, config: Releasing) -> Decision:
    """What a person decided; raises AwaitingReviewError as long as none has."""
    version, uri = case.version, case.version.uri
    decision = case.in_force()
    if decision is not None and case.is_champion:
        return decision
    if decision is not None and decision.action == "reject":
        raise RefusedError(
            f"{decision.entry.who} rejected it: {decision.entry.why}",
            where=uri,
            mend=f"`slipway review approve {uri} --reason ...`, if it is to be the champion after all.",
        )
    reviewers = ",".join(config.reviewers)
    if version.tags.get("review.reviewers", "") != reviewers:
        case.desk.registry.set_tags(version, {"review.reviewers": reviewers})
    raise AwaitingReviewError(
        awaited(uri, config.policy) or "a person must decide",
        where=uri,
        mend=f"`slipway review show {uri}` shows what was measured; `slipway review approve {uri} --reason ...` or\n"
        f"`slipway review reject {uri} --reason ...` decides. Then the same command goes on.",
    )
