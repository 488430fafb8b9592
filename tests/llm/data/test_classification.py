"""No text is counted twice, none teaches two things, and what is tested on was never learnt from."""

from pathlib import Path

import pytest

from infra.store.errors import InputError
from infra.store.folder import FolderStore
from infra.store.manifest import publish
from llm.data.classification import (
    read_examples,
    split_as_pretrained,
    split_by_text,
    write_examples,
)
from llm.data.config import PYTHON_STDLIB, ClassificationData, DataConfig
from llm.data.corpus import publish_corpus, read_corpus
from llm.data.corpus_sources import corpus_sources
from llm.data.documents import Document
from llm.data.gathering.gather import gather as gather_corpus
from llm.data.kinds.classification import Labelled, normalised
from llm.data.labelled import gather, judge, stdlib_documents
from llm.data.splitting import Split, split_documents


def rows(n: int, label: str = "x") -> list[Labelled]:
    return [Labelled(f"a.jsonl:{i}", f"text number {i} of {label}", label) for i in range(n)]


def test_a_text_lands_in_the_same_split_whatever_file_it_comes_in_and_where() -> None:
    first = rows(300)
    again = [Labelled(f"b.csv:{i}", row.text.upper() + " ", "z") for i, row in reversed(list(enumerate(first)))]
    splits = split_by_text(first, validation_share=0.1, test_share=0.2)
    assert tuple(reversed(split_by_text(again, validation_share=0.1, test_share=0.2))) == splits
    assert [splits.count(split) for split in ("train", "validation", "test")] == [210, 30, 60]


@pytest.mark.slow
def test_docstrings_that_are_tested_on_were_held_back_from_pretraining_too(store: FolderStore, tmp_path: Path) -> None:
    config = DataConfig()
    gathered = gather_corpus(corpus_sources(config).each, config.rules, store=store, key="k", folder=tmp_path / "gathered")
    corpus = list(read_corpus(publish_corpus(store, gathered.corpus, "stdlib", {})))
    assert corpus == stdlib_documents(config)
    splits = split_documents(corpus, validation_share=config.validation_share, test_share=config.test_share).splits
    learnt = {normalised(document.text) for document, split in zip(corpus, splits, strict=True) if split == "train"}
    found = gather(ClassificationData(path=PYTHON_STDLIB), config)
    assert judge(ClassificationData(path=PYTHON_STDLIB)).kept == found.rows.kept
    tested = [row for row, split in zip(found.rows.kept, found.splits, strict=True) if split == "test"]
    assert 200 < len(tested) < 450
    assert not [row for row in tested if normalised(row.text) in learnt]
    trained = {normalised(row.text) for row, split in zip(found.rows.kept, found.splits, strict=True) if split == "train"}
    assert not trained & {normalised(row.text) for row in tested}


def test_a_text_of_several_documents_is_held_back_only_where_all_of_them_are() -> None:
    corpus = [Document(f"m.{i}", f"m.{i}", "m", f"Text {i % 150}") for i in range(300)]  # each twice
    of = dict(zip([each.id for each in corpus], split_documents(corpus, validation_share=0.2, test_share=0.2).splits, strict=True))
    kept = [Labelled(f"m.{i}", f"text {i}", "x") for i in range(150)]
    splits = split_as_pretrained(kept, corpus, validation_share=0.2, test_share=0.2)
    for i, split in enumerate(splits):
        assert split == min((of[f"m.{i}"], of[f"m.{i + 150}"]), key=("train", "validation", "test").index)


def test_the_dataset_comes_back_with_its_counts(store: FolderStore, tmp_path: Path) -> None:
    given = [*rows(3), *rows(3, "y")]
    splits: tuple[Split, ...] = ("train", "validation", "test", "test", "validation", "train")
    facts = write_examples(given, splits, tmp_path / "examples")
    assert facts == {
        "labels": ["x", "y"],
        "rows": 6,
        "splits": {"train": {"x": 1, "y": 1}, "validation": {"x": 1, "y": 1}, "test": {"x": 1, "y": 1}},
    }
    dataset = publish(store, "datasets/a/1", tmp_path / "examples", facts)
    assert read_examples(dataset, "test") == [given[2], given[3]]


def test_a_label_that_nothing_is_learnt_of_and_an_empty_split_are_refused(tmp_path: Path) -> None:
    given = [*rows(3), *rows(2, "y")]
    with pytest.raises(InputError, match="label 'y' has no row to train on"):
        write_examples(given, ("train", "train", "validation", "test", "test"), tmp_path)
    with pytest.raises(InputError, match="no row is left for test"):
        write_examples(given, ("train", "train", "train", "train", "validation"), tmp_path)
