"""Checks of what others say of a package: the registry's tags, the ledger's decisions, a running server."""

from flows.lineage.checked import Checked, Looking, file_hash
from flows.lineage.graph import Node


def check_model(looking: Looking, node: Node, checked: Checked) -> None:
    """A registered version: its tags are hashes of what was there, and decisions were made on the same."""
    tags, decisions = node.facts.get("tags", {}), looking.children(node, "decision")
    for package in looking.children(node, "package"):
        lineage = file_hash(package, "lineage.json")
        same = tags.get("lineage.sha256", lineage) == lineage
        checked.expect(same, f"{node.id} was registered with another lineage.json than {package.id} holds.")
        for decision in decisions:
            about = decision.facts["subject"].get("package", package.hash)
            checked.expect(about == package.hash, f"{decision.id} was decided about the package {about}, not {package.hash}.")
    for evidence in looking.children(node, "evidence"):
        file, measured = file_hash(evidence, "evidence.json"), evidence.facts.get("evidence", {}).get("package")
        same = tags.get("evidence.sha256") == file
        checked.expect(same, f"{node.id} was registered with another evidence.json than {evidence.id} holds.")
        checked.expect(measured == node.hash, f"{evidence.id} is of another package ({measured}) than {node.id} ({node.hash}).")
        for decision in decisions:
            seen = decision.facts["subject"].get("evidence_sha256", file)
            checked.expect(seen == file, f"{decision.id} was decided on another evidence.json than {evidence.id} holds.")


def check_server(looking: Looking, node: Node, checked: Checked) -> None:
    """A server: the weights it serves are those of the package it names."""
    prefix = node.facts["prefix"]
    found = looking.shelf.thing(prefix) if prefix else ""
    if not isinstance(found, str):
        weights = found.files.get("model.safetensors", {}).get("sha256")
        checked.expect(node.hash == weights, f"{node.id} serves other weights ({node.hash[:12]}) than {prefix} holds.")


def check_decision(looking: Looking, node: Node, checked: Checked) -> None:
    """An entry of the ledger is counted here; whether it is as it was written is the whole ledger's check."""
    checked.files, checked.bytes = 1, len(looking.shelf.store.read(node.id))
