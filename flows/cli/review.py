"""`slipway review`: the reviewer's door."""

from typing import Annotated, Any

import typer

from flows.cli.output import emit, table
from flows.decision import Action, Decision, Desk, decide
from flows.dossier import Dossier, read_dossier
from infra.registry import CHAMPION, ModelVersion, Registry
from infra.services import with_services
from infra.settings import Settings
from infra.store.errors import InputError

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Model = Annotated[str, typer.Argument(help="models:/NAME/VERSION or models:/NAME@ALIAS.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, in a sentence; it stands in the ledger for good.")]


def list_candidates(as_json: AsJson = False) -> None:
    """The versions that nobody has decided on, with their gates, and the champion of each model."""
    settings = with_services(Settings.load())
    registry = Registry(settings.tracking_uri)
    versions = [] if registry.is_untouched() else registry.versions()
    candidates = [version for version in versions if version.tags.get("review.status") == "candidate"]
    champions = {version.name: version.uri for version in versions if CHAMPION in version.aliases}
    document = {"candidates": [_summary(version, champions) for version in candidates], "champions": champions}
    emit(document, as_json, lambda: _listing(candidates, champions))


def show(model: Model, as_json: AsJson = False) -> None:
    """What a reviewer needs: the card, metrics and lineage beside the champion's, the evidence checked, what was decided."""
    found = read_dossier(_desk(model), model)
    emit(found.document(), as_json, lambda: _text(found))


def approve(model: Model, reason: Reason, as_json: AsJson = False) -> None:
    """Make a version the champion, and the champion of before `previous`. Refused (exit 3) unless its gates have run and passed."""
    _decide(model, "approve", reason, as_json)


def reject(model: Model, reason: Reason, as_json: AsJson = False) -> None:
    """Decide against a version; nothing is deleted. The champion cannot be rejected: approve another version first."""
    _decide(model, "reject", reason, as_json)


def request_changes(model: Model, reason: Reason, as_json: AsJson = False) -> None:
    """Put on record what has to change; the version stays a candidate."""
    _decide(model, "request-changes", reason, as_json)


def _decide(model: str, action: Action, reason: str, as_json: bool) -> None:
    decision = decide(_desk(model), model, action, who=Settings.load().user, why=reason)
    emit(decision.document(), as_json, lambda: _said(decision))


def _desk(model: str) -> Desk:
    desk = Desk.of(with_services(Settings.load()))
    if desk.registry.is_untouched():
        raise InputError("no model is registered yet", where=model, mend="`slipway run lifecycle` registers one.")
    return desk


def _said(decision: Decision) -> str:
    entry = decision.entry
    record = f"entry {entry.number} of the ledger, by {entry.who}"
    if not decision.changed:
        state = "is the champion" if decision.champion == decision.model else f"is {decision.status}"
        return f"{decision.model} {state} already ({record}: {entry.why}). Nothing was changed."
    if decision.action == "approve":
        before = f" {decision.previous} was it before and is `previous` now." if decision.previous else ""
        return f"{decision.model} is the champion now ({record}).{before}"
    did = "is rejected; nothing of it is deleted" if decision.action == "reject" else "stays a candidate until the changes are made"
    return f"{decision.model} {did} ({record})."


def _summary(version: ModelVersion, champions: dict[str, str]) -> dict[str, Any]:
    return {
        "model": version.uri,
        "gates": version.tags.get("gates"),
        "headline": _headline(version),
        "registered_by": version.tags.get("registered.by"),
        "created": version.created.isoformat(),
        "changes_asked_for": version.tags.get("review.reason"),
        "champion": champions.get(version.name),
    }


def _headline(version: ModelVersion) -> str | None:
    if headline := version.tags.get("headline"):
        return headline
    bits = version.tags.get("bits_per_byte")
    return f"{bits} bits per byte" if bits else None


def _listing(candidates: list[ModelVersion], champions: dict[str, str]) -> str:
    if not candidates:
        return "No candidate waits for a review."
    rows = [
        (
            version.uri,
            version.tags.get("gates", "not run"),
            _headline(version) or "-",
            champions.get(version.name, "none"),
            version.tags.get("review.reason", ""),
        )
        for version in candidates
    ]
    head = ("candidate", "gates", "measured", "champion", "changes asked for")
    return table(head, rows) + "\n\n`slipway review show MODEL` shows one; `approve`, `reject` and `request-changes` decide."


def _text(dossier: Dossier) -> str:
    beside = dossier.champion.uri if dossier.champion else "no champion yet"
    lines = [f"{dossier.version.uri} ({dossier.version.tags.get('review.status', '-')}), beside {beside}", ""]
    problems = dossier.evidence.problems
    lines += (
        [f"Evidence: NOT WHOLE: {'; '.join(problems)}"] if problems else [f"Evidence: whole, sha256 {dossier.evidence.sha256[:12]}"]
    )
    rows = [
        ("passed" if gate["passed"] else "FAILED", gate["name"], gate["observed"], gate["rule"]) for gate in dossier.evidence.gates
    ]
    lines += ["", table(("gate", "name", "observed", "rule"), rows) if rows else "Gates: none was asked for."]
    if dossier.metrics:
        measured = [(name, _number(this), _number(champion)) for name, (this, champion) in dossier.metrics.items()]
        lines += ["", table(("metric", "this version", "the champion, on its own evidence"), measured)]
    if dossier.champion and dossier.champion.version != dossier.version.version:
        lines += ["", "Changed against the champion:", *(f"  {line}" for line in dossier.lineage or ["nothing in its lineage"])]
    lines += [
        "",
        "Decisions:",
        *(f"  {entry.number}  {entry.time[:16]}  {entry.action} by {entry.who}: {entry.why}" for entry in dossier.decisions),
    ]
    lines += [] if dossier.decisions else ["  none yet"]
    return "\n".join([*lines, "", dossier.version.description])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
