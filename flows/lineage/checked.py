"""What came of looking at one node of the chain again."""

from dataclasses import dataclass, field
from typing import Any

from flows.lineage.graph import Graph, Kind, Node
from flows.lineage.shelf import Shelf


@dataclass
class Checked:
    """What was looked at of one node: files and bytes read through, what is not as it was written, and what is worth telling.

    `findings` are damage. `notes` are none: a source may change after it was read.
    """

    kind: str
    id: str
    files: int = 0
    bytes: int = 0
    findings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def expect(self, holds: bool, finding: str) -> None:
        if not holds:
            self.findings.append(finding)

    def document(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "id": self.id,
            "files": self.files,
            "bytes": self.bytes,
            "holds": not self.findings,
            "findings": self.findings,
            "notes": self.notes,
        }


@dataclass(frozen=True)
class Looking:
    """What a check may look at: the chain as it was told, and the store as it is."""

    graph: Graph
    shelf: Shelf

    def children(self, node: Node, kind: Kind) -> list[Node]:
        below = [self.graph.nodes[link.to] for link in node.links if link.to in self.graph.nodes]
        return [child for child in below if child.kind == kind]


def file_hash(node: Node, name: str) -> str | None:
    """The sha256 that a thing's manifest gives one of its files."""
    entry = node.facts.get("stored_files", {}).get(name, {})
    found = entry.get("sha256")
    return found if isinstance(found, str) else None
