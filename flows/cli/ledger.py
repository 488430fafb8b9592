"""`slipway ledger`: who decided what, when and why, and whether the record is whole."""

from dataclasses import asdict
from typing import Annotated

import typer

from flows.cli.output import emit, print_error, table
from flows.standing import STATUS, Standing, drifts
from infra.anchors import RegistryAnchor
from infra.ledger import Entry, Ledger, LedgerError
from infra.registry import Registry
from infra.services import with_services
from infra.settings import Settings
from infra.store import open_store

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def show(as_json: AsJson = False) -> None:
    """Every decision, the first first: when, who, what and why."""
    settings = Settings.load()
    entries = Ledger.of(settings).entries()
    document = {"ledger": open_store(settings.store).uri("ledger"), "entries": [entry.document() for entry in entries]}
    emit(document, as_json, lambda: _listing(entries))


def verify(as_json: AsJson = False) -> int:
    """Whether every entry is as it was written, none is missing, and the registry says what the ledger says. Exit 3 if not."""
    settings = with_services(Settings.load())
    store = open_store(settings.store)
    ledger, registry = Ledger.of(settings, store), Registry(settings.tracking_uri)
    anchors = [] if registry.is_untouched() else RegistryAnchor.every(registry)
    findings = ledger.verify(*anchors)
    entries = [] if findings else ledger.entries()
    drifted = [] if registry.is_untouched() else _drifted(entries, registry)
    wrong = [*(finding.what for finding in findings), *(f"{drift[0].upper()}{drift[1:]}." for drift in drifted)]
    document = {
        "ok": not wrong,
        "entries": sum(1 for _ in store.list("ledger")),
        "head": entries[-1].hash if entries else None,
        "findings": [asdict(finding) for finding in findings],
        "registry": drifted,
    }
    if not wrong:
        whole = f"{len(entries)} entries, each as it was written; the registry says the same."
        emit(document, as_json, whole if entries else "Nothing is decided yet.")
        return 0
    mend = (
        "Put the entries back from a copy of the store; ask those who can write there, in the home and in MLflow."
        if findings
        else "The next decision on that model makes the registry say what the ledger says; so does `slipway run release`."
    )
    what = "not as it was written" if findings else "whole, but the registry says otherwise"
    error = LedgerError("\n  - ".join([f"{what}:", *wrong]), where=store.uri("ledger"), mend=mend)
    if as_json:
        emit({**document, **error.document()}, as_json, "")
    else:
        print_error(error, as_json)
    return error.exit_code


def _drifted(entries: list[Entry], registry: Registry) -> list[str]:
    models = [entry.subject.get("model", "") for entry in entries if entry.action in STATUS]
    names = sorted({model.removeprefix("models:/").rpartition("/")[0] for model in models})
    return [drift.what for name in names for drift in drifts(Standing.of(name, entries, registry.versions(name)))]


def _listing(entries: list[Entry]) -> str:
    if not entries:
        return "Nothing is decided yet."
    rows = [
        (str(entry.number), entry.time[:16].replace("T", " "), entry.action, _subject(entry), entry.who, entry.why)
        for entry in entries
    ]
    return table(("entry", "when (UTC)", "what", "on", "who", "why"), rows)


def _subject(entry: Entry) -> str:
    model, target = entry.subject.get("model", ""), entry.subject.get("target", "")
    return f"{model} on {target}" if target else model
