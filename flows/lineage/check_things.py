"""Checks of what the store holds: every file against its manifest, versions against the files, records against their keys."""

from flows.lineage.checked import Checked, Looking
from flows.lineage.graph import Node
from flows.models import PACKAGE_FILES, package_version
from infra.store.errors import SlipwayError
from infra.store.fingerprint import fingerprint
from infra.store.manifest import Thing, content_version, sha256


def check_thing(looking: Looking, node: Node, checked: Checked) -> None:
    """A dataset, a package or an evidence, every byte of it."""
    thing = looking.shelf.thing(node.id)
    if isinstance(thing, str):
        return  # told already, as what is broken here
    actual = _hashed(thing, checked)
    package = thing.facts.get("kind") == "package"
    if len(actual) == len(thing.files):  # without all of its files there is no version to compare
        version = (
            package_version(actual) if package else content_version({name: {"sha256": found} for name, found in actual.items()})
        )
        checked.expect(version == thing.version, f"{node.id} says its version is {thing.version}, its files make it {version}.")
    if node.id.startswith("datasets/"):
        checked.expect(node.id.endswith(f"/{thing.version}"), f"{node.id} holds the version {thing.version}, not that of its name.")
    if package:
        _check_package(looking, node, thing, checked)


def check_run(looking: Looking, node: Node, checked: Checked) -> None:
    """A stage record: its key is a hash of what it says was done."""
    record = looking.shelf.record(node.hash) if node.hash else ""
    if isinstance(record, str):
        return
    checked.files, checked.bytes = 1, len(looking.shelf.store.read(node.id))
    key = fingerprint(record.identity)
    checked.expect(key == node.hash, f"{node.id} was changed: what it says was done has the key {key[:12]}.")
    checked.expect(record.key == node.hash, f"{node.id} holds the record of another key, {record.key[:12]}.")
    checked.expect(record.identity.get("stage") == record.stage, f"{node.id} names another stage than it has the key of.")
    for name, ref in record.outputs.items():
        made = looking.shelf.thing(ref.prefix)
        holds = isinstance(made, str) or made.version == ref.version
        checked.expect(holds, f"{node.id} says that it made {ref.version} as {name}, and {ref.prefix} holds another version.")


def _hashed(thing: Thing, checked: Checked) -> dict[str, str]:
    """The sha256 of every file, read now: what this process read before does not count."""
    actual = {}
    for name, entry in thing.files.items():
        place = f"{thing.prefix}/{name}"
        try:
            thing.store.forget(place)  # what this machine has a copy of does not count either
            path = thing.store.get_file(place)
            found, size = sha256(path), path.stat().st_size
        except (SlipwayError, OSError):
            checked.findings.append(f"{place} is missing or unreadable, though its manifest names it.")
            continue
        checked.files, checked.bytes, actual[name] = checked.files + 1, checked.bytes + size, found
        was = str(entry["sha256"])
        checked.expect(found == was, f"{place} was changed: its sha256 is {found[:12]}, its manifest says {was[:12]}.")
    return actual


def _check_package(looking: Looking, node: Node, thing: Thing, checked: Checked) -> None:
    """A package's lineage.json against the record of the run that made it; and no file that would be loaded unchecked."""
    for name in PACKAGE_FILES:
        beside = name not in thing.files and thing.store.exists(f"{thing.prefix}/{name}")
        checked.expect(not beside, f"{thing.prefix}/{name} was put beside the package: its manifest does not name it.")
    told = node.facts.get("lineage", {})
    checked.expect(told.get("package") == thing.version, f"{thing.prefix}/lineage.json is that of another package.")
    for run in looking.children(node, "run"):
        checked.expect(told.get("key") == run.hash, f"{thing.prefix}/lineage.json names another run than {run.id}.")
        for role, version in run.facts["inputs"].items():
            holds = told.get(role, version) == version
            checked.expect(holds, f"{thing.prefix}/lineage.json names other {role} than {run.id}.")
