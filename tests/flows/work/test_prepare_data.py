"""Tokenizing that is cut off anywhere goes on where it was, and ends with the bytes of an undisturbed one."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.pipeline.stage import Job, Outcome
from flows.recipes.sections import TokenizerConfig
from flows.stage_settings import Splits
from flows.work import prepare_data
from infra.settings import Settings
from infra.store.errors import StoreError
from infra.store.faulty import Died, Fault, FaultyStore
from infra.store.folder import FolderStore
from infra.store.manifest import MANIFEST, Thing, find, load
from infra.store.protocol import Store
from llm.data import token_parts
from llm.data.batch_documents import training_rows
from llm.data.corpus import read_corpus
from llm.data.tokens import TokenStream
from llm.events import Event, Noted, Progress, ignore
from llm.text.tokenizer import Tokenizer
from tests.conftest import ROOT
from tests.llm.data.token_corpus import texts, write_corpus

PART_BYTES = 9_000
CORPUS = "datasets/notes/1"


def settings(**weights: float) -> Splits:
    return Splits(TokenizerConfig(vocabulary=400), validation_share=0.1, test_share=0.1, weights=weights, mix="keep", name="notes")


def prepare(
    store: Store,
    scratch: Path,
    splits: Splits,
    observe: Callable[[Event], None] = ignore,
    still_ours: Callable[[], None] = lambda: None,
) -> Outcome:
    """The work of the stage, on the corpus in the store."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    job = Job(
        store=store,
        settings=Settings(),
        key="0123456789abcdef",
        attempt=1,
        run="prepare-data-0123456789ab-1",
        earlier_runs=(),
        inputs={"corpus": load(store, CORPUS)},
        scratch=scratch,
        observe=observe,
        still_ours=still_ours,
    )
    return prepare_data.work(job, splits)


def corpus(store: Store, folder: Path) -> Thing:
    documents = [*texts(150, source="web/a.jsonl"), *texts(100, source="books/b.txt", seed=1)]
    return write_corpus(store, folder, documents, sources=[{"name": "web", "sha256": "0" * 64, "bytes": 9}])


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_parts, "PART_BYTES", PART_BYTES)
    monkeypatch.setattr(token_parts, "BATCH_BYTES", 900)


def left(store: FolderStore) -> list[str]:
    return [entry.name for entry in store.list("parts")]


@pytest.mark.parametrize(
    ("fault", "weights"),
    [(Fault.FAIL, {}), (Fault.DIE_BEFORE, {"web": 1.0, "books": 2.0}), (Fault.DIE_AFTER, {})],
    ids=lambda value: value.name.lower() if isinstance(value, Fault) else "mixed" if value else "as it is",
)
def test_after_a_fault_at_any_write_a_rerun_makes_the_same_dataset_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault, weights: dict[str, float]
) -> None:
    monkeypatch.setattr(os, "fsync", lambda file: None)  # no power fails here, and a disk takes its time
    monkeypatch.setattr(token_parts, "PART_BYTES", 14_000)
    undisturbed = FolderStore(tmp_path / "undisturbed")
    corpus(undisturbed, tmp_path / "corpus")
    counting = FaultyStore(undisturbed)
    expected = prepare(counting, tmp_path / "scratch", settings(**weights))
    assert counting.writes > 25
    assert left(undisturbed) == []
    for at in range(1, counting.writes + 1):
        store = FolderStore(tmp_path / str(at))
        shutil.copytree(undisturbed.root / CORPUS, store.root / CORPUS)
        with pytest.raises((Died, StoreError)):
            prepare(FaultyStore(store, at=at, fault=fault), tmp_path / "scratch", settings(**weights))
        outcome = prepare(store, tmp_path / "scratch", settings(**weights))
        assert outcome.result == expected.result, f"after write {at}"
        ours, theirs = outcome.outputs["tokens"], expected.outputs["tokens"]
        assert (ours.prefix, ours.files, ours.facts) == (theirs.prefix, theirs.files, theirs.facts), f"after write {at}"
        assert left(store) == []
        shutil.rmtree(store.root)


def test_finished_parts_are_not_tokenized_again_and_the_rest_is_told(store: FolderStore, tmp_path: Path) -> None:
    corpus(store, tmp_path / "corpus")
    calls = 0

    def stop_after_the_second_part() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:  # the tokenizer is the first
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(store, tmp_path / "scratch", settings(), still_ours=stop_after_the_second_part)
    assert sum(name.endswith("/manifest.json") for name in left(store)) == 3
    events: list[Event] = []
    prepare(store, tmp_path / "scratch", settings(), events.append)
    assert [event.message for event in events if isinstance(event, Noted)] == ["2 of 3 parts were tokenized before"]
    counted = [(event.done, event.total) for event in events if isinstance(event, Progress)]
    assert counted[-1] == (250, 250)
    assert counted == sorted(counted)


def test_processes_make_the_same_dataset_as_one(store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus(store, tmp_path / "corpus")
    alone = prepare(store, tmp_path / "scratch", settings(web=1.0, books=2.0)).outputs["tokens"]
    for name in list(alone.files):
        store.delete(f"{alone.prefix}/{name}")
    store.delete(f"{alone.prefix}/{MANIFEST}")
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    together = prepare(store, tmp_path / "scratch", settings(web=1.0, books=2.0)).outputs["tokens"]
    assert (together.prefix, together.files, together.facts) == (alone.prefix, alone.files, alone.facts)
    together.check()


def test_a_damaged_part_is_made_again_and_not_built_upon(store: FolderStore, tmp_path: Path) -> None:
    corpus(store, tmp_path / "corpus")
    with pytest.raises(StoreError):
        prepare(FaultyStore(store, at=13, fault=Fault.FAIL), tmp_path / "scratch", settings())
    damaged = next(store.root / name for name in left(store) if name.endswith("train-00000.bin"))
    damaged.write_bytes(b"\x01\x00" + damaged.read_bytes()[2:])
    after = prepare(store, tmp_path / "scratch", settings()).outputs["tokens"]
    other = FolderStore(tmp_path / "other")
    corpus(other, tmp_path / "corpus again")
    assert after.files == prepare(other, tmp_path / "scratch", settings()).outputs["tokens"].files


KILLED = """
import os, signal, sys
from pathlib import Path
from infra.store.folder import FolderStore
from llm.data import token_parts
from tests.flows.work.test_prepare_data import PART_BYTES, prepare, settings
from llm.events import Progress
token_parts.PART_BYTES, token_parts.BATCH_BYTES = PART_BYTES, 900
def observe(event):
    if isinstance(event, Progress) and event.done >= int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
prepare(FolderStore(Path(sys.argv[1])), Path(sys.argv[2]), settings(), observe)
"""


def test_a_process_killed_in_the_middle_of_tokenizing_is_gone_on_with_and_the_bytes_are_the_same(tmp_path: Path) -> None:
    store, whole = FolderStore(tmp_path / "store"), FolderStore(tmp_path / "whole")
    corpus(store, tmp_path / "corpus")
    corpus(whole, tmp_path / "corpus again")
    expected = prepare(whole, tmp_path / "scratch", settings()).outputs["tokens"]
    for documents in (5, 130, 230):  # of 250: in each of the three parts
        words = [sys.executable, "-c", KILLED, str(store.root), str(tmp_path / "scratch"), str(documents)]
        killed = subprocess.run(words, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False, timeout=120)
        assert killed.returncode == -signal.SIGKILL
        assert not list(store.list("datasets/notes-tokens"))
        assert left(store)
    events: list[Event] = []
    outcome = prepare(store, tmp_path / "scratch", settings(), events.append)
    assert [event.message for event in events if isinstance(event, Noted)] == ["2 of 3 parts were tokenized before"]
    tokens = outcome.outputs["tokens"]
    assert tokens.version == expected.version
    for name in expected.files:
        assert tokens.path(name).read_bytes() == expected.path(name).read_bytes()


@pytest.mark.parametrize("weights", [{}, {"web": 1.0, "books": 2.0}], ids=["as it is", "mixed"])
def test_every_training_document_is_found_again_in_the_corpus(
    store: FolderStore, tmp_path: Path, weights: dict[str, float]
) -> None:
    source = corpus(store, tmp_path / "corpus")
    tokens = prepare(store, tmp_path / "scratch", settings(**weights)).outputs["tokens"]
    rows = training_rows(source, tokens.facts.get("mixture", {}), validation_share=0.1, test_share=0.1)
    texts_of = [document.text for document in read_corpus(source)]
    tokenizer = Tokenizer.load(tokens.folder())
    assert [tokenizer.decode(ids.tolist()) for ids in TokenStream(tokens, "train").documents()] == [texts_of[row] for row in rows]


def test_the_manifest_says_what_was_asked_and_reached_of_each_source(store: FolderStore, tmp_path: Path) -> None:
    corpus(store, tmp_path / "corpus")
    facts = prepare(store, tmp_path / "scratch", settings(web=1.0, books=2.0)).outputs["tokens"].facts
    assert {name: of["weight"] for name, of in facts["mixture"].items()} == pytest.approx({"books": 2 / 3, "web": 1 / 3})
    assert {name: of["share"] for name, of in facts["mixture"].items()} == pytest.approx({"books": 2 / 3, "web": 1 / 3}, abs=0.01)
    assert facts["mixture"]["books"]["times"] > 1 > facts["mixture"]["web"]["times"]
    plain = prepare(store, tmp_path / "scratch", settings()).outputs["tokens"]
    assert "mixture" not in plain.facts
    for split in ("validation", "test"):
        assert facts["splits"][split] == plain.facts["splits"][split]


def test_the_tokens_are_those_of_the_tokenizer_beside_them(store: FolderStore, tmp_path: Path) -> None:
    documents = texts(250)
    write_corpus(store, tmp_path / "corpus", documents)
    tokens = prepare(store, tmp_path / "scratch", settings()).outputs["tokens"]
    tokenizer = Tokenizer.load(tokens.folder())
    assert tokens.facts["tokenizer"] == tokens.files["tokenizer.json"]["sha256"]
    read = [
        tokenizer.decode(ids.tolist())
        for split in ("train", "validation", "test")
        for ids in TokenStream(tokens, split).documents()
    ]
    assert sorted(read) == sorted(document.text for document in documents)
    assert tokens.facts["shard_tokens"]["train-00000.bin"] == tokens.facts["splits"]["train"]["tokens"]
    assert find(store, tokens.prefix) is not None
