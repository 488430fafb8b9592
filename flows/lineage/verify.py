"""A chain checked again: every file read and hashed anew, every hash compared with whoever names it."""

from collections.abc import Callable, Mapping
from typing import Final

from flows.lineage.check_claims import check_decision, check_model, check_server
from flows.lineage.check_source import check_folder, check_source
from flows.lineage.check_things import check_run, check_thing
from flows.lineage.checked import Checked, Looking
from flows.lineage.graph import Graph, Kind, Node
from flows.lineage.shelf import Shelf
from infra.ledger import FOLDER, Ledger
from infra.store.errors import SlipwayError
from infra.store.protocol import Store


def verify(graph: Graph, store: Store, ledger: Ledger) -> list[Checked]:
    """Checks every node of the chain, and the whole ledger where there is one. What is missing or damaged is in the findings."""
    looking = Looking(graph, Shelf(store))
    return [_check(looking, node) for node in graph.nodes.values()] + _ledger(store, ledger)


def _check(looking: Looking, node: Node) -> Checked:
    checked = Checked(node.kind, node.id, findings=[f"{node.id}: {broken}." for broken in node.broken])
    for link in node.links:
        below = looking.graph.nodes.get(link.to)
        if below is not None and link.hash and below.hash:
            checked.expect(link.hash == below.hash, f"{node.id} names {link.to} by {link.hash}, it is {below.hash}.")
    _CHECKS.get(node.kind, check_thing)(looking, node, checked)
    return checked


def _ledger(store: Store, ledger: Ledger) -> list[Checked]:
    entries = list(store.list(FOLDER))
    try:
        findings = [finding.what for finding in ledger.verify()]
    except SlipwayError as error:  # an anchor that cannot be read
        findings = [f"{error.where}: {error.what}."]
    if not entries and not findings:
        return []
    return [Checked("ledger", FOLDER, len(entries), sum(entry.bytes for entry in entries), findings)]


_CHECKS: Final[Mapping[Kind, Callable[[Looking, Node, Checked], None]]] = {
    "server": check_server,
    "decision": check_decision,
    "model version": check_model,
    "run": check_run,
    "model folder": check_folder,
    "source": check_source,
}
