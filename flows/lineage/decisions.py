"""What people and flows decided about a model, from the ledger: nodes of the chain."""

from collections.abc import Sequence

from flows.lineage.graph import Link, Node
from infra.ledger import FOLDER, Entry, Ledger
from infra.store.errors import SlipwayError

DEPLOYMENTS = ("deploy", "rollback")


def entries(ledger: Ledger) -> list[Entry] | str:
    """Every entry, or in a sentence why there are none to show."""
    try:
        return ledger.entries()
    except SlipwayError as error:
        return f"the ledger is unreadable: {error.where}: {error.what}"


def about(found: Sequence[Entry], *, package: str, model: str = "") -> list[Entry]:
    """The entries whose subject is this package, or this registered version."""
    return [
        entry
        for entry in found
        if (package and entry.subject.get("package") == package) or (model and entry.subject.get("model") == model)
    ]


def link(entry: Entry) -> Link:
    return Link(entry.action, name(entry), entry.hash)


def node(entry: Entry) -> Node:
    """An entry as a node of the chain."""
    facts = {
        "number": entry.number,
        "time": entry.time,
        "action": entry.action,
        "who": entry.who,
        "why": entry.why,
        "subject": dict(entry.subject),
        "facts": dict(entry.facts),
    }
    return Node("decision", name(entry), entry.hash, facts)


def name(entry: Entry) -> str:
    return f"{FOLDER}/{entry.number:08d}.json"
