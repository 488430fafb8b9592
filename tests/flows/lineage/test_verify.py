"""`--verify`: whatever is changed, taken away or exchanged in the chain is found and named; what lies outside is told apart."""

import hashlib
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from infra.ledger import Ledger
from infra.store.manifest import content_version
from tests.flows.lineage.conftest import MODEL, Lived, as_json

Changed = Callable[..., AbstractContextManager[None]]


def last_byte(before: bytes) -> bytes:
    return before[:-1] + bytes([before[-1] ^ 1])


def test_a_chain_that_nobody_touched_holds_and_every_file_of_it_was_read(lived: Lived) -> None:
    checked = lived.verify(MODEL)
    assert [finding for each in checked for finding in each.findings] == []
    read = {each.id: (each.files, each.bytes) for each in checked}
    for stage, output in (
        ("pretrain", "package"),
        ("evaluate", "evidence"),
        ("prepare-data", "tokens"),
        ("validate-data", "corpus"),
    ):
        thing = lived.thing(stage, output)
        assert read[thing.prefix] == (len(thing.files), thing.bytes())
        assert read[f"stages/{lived.records[stage].key}.json"][0] == 1
    assert read["ledger"][0] == 3
    (source,) = [each for each in checked if each.kind == "source"]
    assert (source.files, source.bytes) == (1, lived.text.stat().st_size)
    assert source.notes == []


FILES = [
    ("pretrain", "package", "model.safetensors"),
    ("pretrain", "package", "config.json"),
    ("pretrain", "package", "tokenizer.json"),
    ("pretrain", "package", "lineage.json"),
    ("pretrain", "package", "MLmodel"),
    ("pretrain", "package", "pyfunc_model.py"),
    ("evaluate", "evidence", "evidence.json"),
    ("evaluate", "evidence", "loss-curve.png"),
    ("prepare-data", "tokens", "train-00000.bin"),
    ("prepare-data", "tokens", "train-00000.offsets"),
    ("prepare-data", "tokens", "tokenizer.json"),
    ("validate-data", "corpus", "corpus-00000.parquet"),
]


@pytest.mark.parametrize(("stage", "output", "name"), FILES)
def test_a_changed_byte_is_found_though_this_process_has_read_the_file_before(
    lived: Lived, changed: Changed, stage: str, output: str, name: str
) -> None:
    thing = lived.thing(stage, output)
    thing.path(name)  # from here on this process believes the file, as long as its size and time stay
    path = lived.path(f"{thing.prefix}/{name}")
    with changed(path, last_byte):
        findings = lived.findings(MODEL)
    assert f"{thing.prefix}/{name} was changed: its sha256 is" in " ".join(findings)
    assert lived.findings(MODEL) == []


@pytest.mark.parametrize(("stage", "output", "name"), [FILES[0], FILES[6], FILES[8], FILES[11]])
def test_a_missing_file_is_named(lived: Lived, changed: Changed, stage: str, output: str, name: str) -> None:
    place = f"{lived.thing(stage, output).prefix}/{name}"
    with changed(lived.path(place)):
        assert f"{place} is missing or unreadable, though its manifest names it." in lived.findings(MODEL)


@pytest.mark.parametrize(("stage", "output"), [("pretrain", "package"), ("evaluate", "evidence"), ("prepare-data", "tokens")])
def test_a_file_and_its_manifest_changed_together_are_found_by_the_version(
    lived: Lived, changed: Changed, stage: str, output: str
) -> None:
    thing = lived.thing(stage, output)
    name = {"package": "config.json", "evidence": "evidence.json", "tokens": "train-00000.bin"}[output]
    path, manifest = lived.path(f"{thing.prefix}/{name}"), lived.path(f"{thing.prefix}/manifest.json")
    with changed(path, last_byte):
        forged = hashlib.sha256(path.read_bytes()).hexdigest()
        with changed(manifest, as_json(lambda document: document["files"][name].update(sha256=forged))):
            findings = " ".join(lived.findings(MODEL))
    assert f"{thing.prefix} says its version is {thing.version}, its files make it" in findings


def test_a_dataset_forged_with_manifest_and_version_is_found_by_its_name_and_by_the_record(lived: Lived, changed: Changed) -> None:
    thing = lived.thing("prepare-data", "tokens")
    path, manifest = lived.path(f"{thing.prefix}/train-00000.bin"), lived.path(f"{thing.prefix}/manifest.json")
    with changed(path, last_byte):
        forged = hashlib.sha256(path.read_bytes()).hexdigest()

        def forge(document: dict[str, Any]) -> None:
            document["files"]["train-00000.bin"]["sha256"] = forged
            document["version"] = content_version(document["files"])

        with changed(manifest, as_json(forge)):
            findings = " ".join(lived.findings(MODEL))
    assert "not that of its name" in findings
    assert f"says that it made {thing.version} as tokens, and {thing.prefix} holds another version" in findings


@pytest.mark.parametrize("stage", ["validate-data", "prepare-data", "pretrain", "evaluate"])
def test_a_record_that_says_it_did_something_else_no_longer_has_its_key(lived: Lived, changed: Changed, stage: str) -> None:
    name = f"stages/{lived.records[stage].key}.json"
    with changed(lived.path(name), as_json(lambda document: document["identity"]["settings"].update(more=1))):
        assert f"{name} was changed: what it says was done has the key" in " ".join(lived.findings(MODEL))


def test_a_source_list_that_was_edited_does_not_make_the_version_of_the_source(lived: Lived, changed: Changed) -> None:
    corpus = lived.thing("validate-data", "corpus")
    manifest = lived.path(f"{corpus.prefix}/manifest.json")
    with changed(manifest, as_json(lambda document: document["facts"]["sources"][0].update(sha256="f" * 64))):
        assert "the files that the corpus names make the version" in " ".join(lived.findings("text"))


def test_a_source_list_that_no_hash_covers_is_told_as_such(lived: Lived, changed: Changed) -> None:
    corpus = lived.thing("validate-data", "corpus")
    manifest = lived.path(f"{corpus.prefix}/manifest.json")
    with changed(manifest, as_json(lambda document: document["facts"].update(kind="classification"))):
        (source,) = [each for each in lived.verify("text") if each.kind == "source"]
    assert source.notes == ["the list of its files stands in the manifest alone: no hash covers it"]


def test_a_source_that_changed_or_went_away_later_is_told_and_is_no_damage(lived: Lived, changed: Changed) -> None:
    with changed(lived.text, lambda before: before + b"more\n"):
        (source,) = [each for each in lived.verify("text") if each.kind == "source"]
        assert source.findings == []
        assert source.notes == ["at the source, 1 of 1 files changed since they were read, such as text.txt"]
    with changed(lived.text):
        (source,) = [each for each in lived.verify("text") if each.kind == "source"]
        assert source.findings == []
        assert source.notes == [f"{lived.text} cannot be read again: no such file or folder"]


@pytest.mark.parametrize("number", [1, 2])
def test_an_edited_decision_is_found_by_the_ledger(lived: Lived, changed: Changed, number: int) -> None:
    with changed(lived.path(f"ledger/{number:08d}.json"), as_json(lambda document: document.update(who="eve@quay"))):
        assert f"Entry {number} was changed" in " ".join(lived.findings(MODEL))


def test_a_decision_made_on_other_evidence_is_found_though_the_ledger_is_whole(lived: Lived, changed: Changed) -> None:
    subject = {"model": MODEL, "package": lived.thing("pretrain", "package").version, "evidence_sha256": "0" * 64}
    with changed(lived.settings.home / "ledger-heads.json", lambda before: before):  # put back with the ledger
        Ledger.of(lived.settings).append("approve", subject=subject, who="eve@quay", why="")
        try:
            assert "ledger/00000004.json was decided on another evidence.json" in " ".join(lived.findings(MODEL))
        finally:
            lived.path("ledger/00000004.json").unlink()
    assert lived.findings(MODEL) == []


def test_a_file_slipped_in_beside_a_package_is_found(lived: Lived, changed: Changed) -> None:
    manifest = lived.path(f"{lived.thing('pretrain', 'package').prefix}/manifest.json")
    with changed(manifest, as_json(lambda document: document["files"].pop("generation_config.json"))):
        assert "generation_config.json was put beside the package" in " ".join(lived.findings(MODEL))


def test_a_copy_of_a_package_is_known_by_its_hash_and_an_altered_one_is_not(lived: Lived, tmp_path: Path) -> None:
    package = lived.thing("pretrain", "package")
    copy = Path(shutil.copytree(package.folder(), tmp_path / "copy"))
    assert lived.findings(str(copy)) == []
    (copy / "config.json").write_bytes((copy / "config.json").read_bytes() + b"\n")
    assert "the store in use holds no package with the version" in " ".join(lived.findings(str(copy)))
