"""The chain as data: nodes with their hash and facts, and links from each to what it was made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal[
    "server", "decision", "model version", "package", "evidence", "run", "tokens", "corpus", "dataset", "model folder", "source"
]


@dataclass(frozen=True)
class Link:
    """To the node `to`; `hash` is the content version that the one above says it has, where it says one."""

    role: str
    to: str
    hash: str = ""


@dataclass(frozen=True)
class Node:
    """One thing of the chain. `id` is its address: a prefix of the store, a record's name, a model's reference, a URL.

    `broken` says in sentences what is missing or damaged here; the chain goes on as far as it is known.
    """

    kind: Kind
    id: str
    hash: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    links: tuple[Link, ...] = ()
    broken: tuple[str, ...] = ()


@dataclass(frozen=True)
class Graph:
    """A chain from `root` backwards."""

    root: str
    nodes: Mapping[str, Node]

    def document(self) -> dict[str, Any]:
        """As JSON: every node once, with its children, and all links as edges."""
        nodes = [
            {
                "kind": node.kind,
                "id": node.id,
                "hash": node.hash or None,
                "facts": dict(node.facts),
                "broken": list(node.broken),
                "children": [{"role": link.role, "id": link.to} for link in node.links],
            }
            for node in self.nodes.values()
        ]
        edges = [
            {"from": node.id, "to": link.to, "role": link.role, "hash": link.hash or None}
            for node in self.nodes.values()
            for link in node.links
        ]
        return {"root": self.root, "nodes": nodes, "edges": edges}
