"""A chain for people: a tree in which each thing stands with the run that made it, and what it was made from below it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flows.cli.explain_facts import decision, facts_of
from flows.cli.output import size, table
from flows.lineage.checked import Checked
from flows.lineage.graph import Graph, Link, Node

if TYPE_CHECKING:
    from flows.lineage.batch import Batch, BatchRow, Part

_SHORT = 240  # characters of a document's text, unless the whole is wanted


def chain(graph: Graph) -> str:
    """The tree; what stands in it once is not told a second time."""
    return "\n".join(_Tree(graph).lines(graph.root))


def verification(checked: Sequence[Checked]) -> str:
    """What was checked, a line a thing; then every finding and every note as a sentence."""
    rows = [
        (each.kind, each.id, each.files, size(each.bytes), "holds" if not each.findings else "DOES NOT HOLD") for each in checked
    ]
    findings = [f"- {finding}" for each in checked for finding in each.findings]
    notes = [f"- {each.id}: {note}" for each in checked for note in each.notes]
    files, total = sum(each.files for each in checked), size(sum(each.bytes for each in checked))
    end = f"{len(findings)} finding{'s' * (len(findings) != 1)} in" if findings else "Every hash holds:"
    told = ["", "What does not hold:", *findings] if findings else []
    told += ["", "Worth knowing (no damage of the store):", *notes] if notes else []
    return "\n".join(
        [table(("what", "where", "files", "size", ""), rows), *told, "", f"{end} {files:,} files, {total} read again."]
    )


def batch(found: "Batch", *, full: bool) -> str:
    """The rows of a step, each document on a line, its text below."""
    lines = [f"{found.run}, step {found.step:,} of {found.steps:,}: {len(found.rows)} rows"]
    for number, row in enumerate(found.rows, start=1):
        lines += ["", _row(number, row)]
        for part in row.parts:
            lines += [f"  {_part(part)}", *(f"    {line}" for line in _text(part.text, full))]
    return "\n".join([*lines, *(["", *(f"! {note}" for note in found.notes)] if found.notes else [])])


class _Tree:
    def __init__(self, graph: Graph) -> None:
        self._nodes, self._told = graph.nodes, set[str]()

    def lines(self, node_id: str, role: str = "") -> list[str]:
        node = self._nodes[node_id]
        if node.kind == "decision":
            return [decision(node)]
        head = f"{'' if role in ('', node.kind) else f'{role}: '}{node.kind} {_name(node)}"
        if node_id in self._told:
            return [f"{head} (told above)"]
        self._told.add(node_id)
        own, below = self._own(node)
        return [head, *_indented(own, "│ " if below else "  "), *self._below(below)]

    def _own(self, node: Node) -> tuple[list[str], list[Link]]:
        """What is said of a node, and what hangs below it; the run that made a thing is said with the thing."""
        lines = [*facts_of(node), *(f"! {broken}" for broken in node.broken)]
        below: list[Link] = []
        for link in node.links:
            made_by = self._nodes[link.to]
            if link.role != "made by" or link.to in self._told:
                below.append(link)
                continue
            self._told.add(link.to)
            lines += [f"made by run {made_by.facts['run']}", *_indented(facts_of(made_by), "  ")]
            lines += [f"! {broken}" for broken in made_by.broken]
            below += made_by.links
        return lines, below

    def _below(self, links: Sequence[Link]) -> list[str]:
        lines = []
        for place, link in enumerate(links):
            last = place == len(links) - 1
            first, *rest = self.lines(link.to, link.role)
            lines += [f"{'└─ ' if last else '├─ '}{first}", *_indented(rest, "   " if last else "│  ")]
        return lines


def _indented(lines: Sequence[str], by: str) -> list[str]:
    return [f"{by}{line}" for line in lines]


def _name(node: Node) -> str:
    return str(node.facts["run"]) if node.kind == "run" else node.id


def _row(number: int, row: "BatchRow") -> str:
    told = [f"{name} {value:,}" if isinstance(value, int) else f"{name} {value}" for name, value in row.facts.items()]
    return f"row {number}: {', '.join([f'{len(row.ids):,} tokens', *told] if row.ids else told)}"


def _part(part: "Part") -> str:
    name = part.id or f"training document {part.number:,}"
    if not part.tokens:
        return name
    whole = part.first == 0 and part.last == part.tokens - 1
    where = f"whole, {part.tokens:,} tokens" if whole else f"tokens {part.first + 1:,} to {part.last + 1:,} of {part.tokens:,}"
    return f"{name} ({where})" + (f", from {part.source}" if part.source and part.source != part.id else "")


def _text(text: str, full: bool) -> list[str]:
    shown = text if full or len(text) <= _SHORT else f"{text[:_SHORT]} ... ({len(text) - _SHORT:,} characters more)"
    return shown.splitlines() or [""]
