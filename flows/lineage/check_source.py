"""Checks of what lies outside the store: the files a corpus was read from, and a package's copy."""

from pathlib import Path

from flows.lineage.checked import Checked, Looking
from flows.lineage.graph import Node
from flows.models import PACKAGE_FILES
from llm.data.provenance import look_again
from llm.data.reading.found import source_version


def check_source(looking: Looking, node: Node, checked: Checked) -> None:
    """The list of files against the source's version: damage. The files that are there now against the list: worth a note."""
    if node.broken:
        return
    try:
        hashes = {str(file["name"]): str(file["sha256"]) for file in node.facts["files"]}
    except (TypeError, KeyError):
        checked.findings.append(f"{node.id}: the list of its files is unreadable.")
        return
    interpreter, kind = str(node.facts.get("interpreter") or ""), str(node.facts.get("kind"))
    if node.facts.get("made") == "corpus":
        version = source_version(hashes, interpreter)
        checked.expect(version == node.hash, f"{node.id}: the files that the corpus names make the version {version}.")
    else:
        checked.notes.append("the list of its files stands in the manifest alone: no hash covers it")
    place = node.facts.get("path") or ""
    if kind != "stdlib" and not place:
        checked.notes.append("where it was read from is not on record, so it was not read again")
        return
    found = look_again(kind, place, hashes)
    checked.files, checked.bytes = sum(state != "missing" for state in found.states.values()), found.bytes
    if found.why_not:
        where = place if isinstance(place, str) else ", ".join(place.values())
        checked.notes.append(f"{where or 'the standard library'} cannot be read again: {found.why_not}")
    elif found.interpreter != interpreter:
        checked.notes.append(f"it was read with {interpreter}, this is {found.interpreter}")
    for state, words in (("changed", "changed since they were read"), ("missing", "are not there any more")):
        names = [name for name, was in found.states.items() if was == state]
        checked.notes += [f"at the source, {len(names):,} of {len(hashes):,} files {words}, such as {names[0]}"] if names else []


def check_folder(looking: Looking, node: Node, checked: Checked) -> None:
    """A model folder outside the store: its hash was computed when it was named, and is compared with the store's as a link."""
    if folder := node.facts.get("folder"):
        present = [path for name in PACKAGE_FILES if (path := Path(folder, name)).is_file()]
        checked.files, checked.bytes = len(present), sum(path.stat().st_size for path in present)
    else:
        checked.notes.append("it came from outside the store; its place is not on record, so it was not read again")
