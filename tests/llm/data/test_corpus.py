"""A corpus: every text once, back as it was and in its order, the same bytes whenever it is written."""

import re
from pathlib import Path

import pytest

from infra.store.errors import DamagedError
from infra.store.folder import FolderStore
from infra.store.manifest import describe, load
from llm.data.corpus import CorpusStats, corpus_facts, publish_corpus, read_corpus, read_names, read_rows, write_corpus
from llm.data.documents import Document
from llm.data.reading.inspect import inspect


def texts(n: int) -> list[Document]:
    return [Document(f"f:{i}", f"f:{i // 2}", "f", f"text {i} — naïve ☃ " * (i % 5 + 1)) for i in range(n)]


def test_documents_come_back_as_they_were_and_in_order(store: FolderStore, tmp_path: Path) -> None:
    stats = write_corpus(texts(500), tmp_path / "c", shard_bytes=5_000)
    assert stats == CorpusStats(500, sum(len(document.text.encode()) for document in texts(500)), 0, 0)
    shards = len(list((tmp_path / "c").iterdir()))
    assert shards == pytest.approx(stats.bytes / 5_000, abs=1.5)
    corpus = publish_corpus(store, tmp_path / "c", "plays", {})
    assert re.fullmatch(rf"datasets/plays/{corpus.version}", corpus.prefix)
    assert list(read_corpus(load(store, corpus.prefix))) == texts(500)


def test_names_and_single_rows_are_read_without_the_rest(store: FolderStore, tmp_path: Path) -> None:
    write_corpus(texts(500), tmp_path / "c", shard_bytes=5_000)
    corpus = publish_corpus(store, tmp_path / "c", "plays", {})
    assert [(name.id, name.parent) for name in read_names(corpus)] == [(text.id, text.parent) for text in texts(500)]
    assert read_rows(corpus, [499, 0, 250, 250]) == {row: texts(500)[row] for row in (0, 250, 499)}


def test_a_text_is_kept_once_and_an_empty_one_not_at_all(store: FolderStore, tmp_path: Path) -> None:
    rows = [
        Document("a", "a", "f", "one"),
        Document("b", "b", "f", "two"),
        Document("c", "c", "f", "one"),
        Document("d", "d", "f", " \n"),
    ]
    assert write_corpus(rows, tmp_path / "c") == CorpusStats(2, 6, 1, 1)
    corpus = publish_corpus(store, tmp_path / "c", "x", {})
    assert [document.id for document in read_corpus(corpus)] == ["a", "b"]


def test_the_same_documents_are_the_same_version_wherever_they_came_from(store: FolderStore, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_corpus(texts(300), tmp_path / name, shard_bytes=4_000)
    assert describe(tmp_path / "one") == describe(tmp_path / "two")
    first = publish_corpus(store, tmp_path / "one", "x", {"licence": "MIT"})
    assert publish_corpus(store, tmp_path / "two", "x", {}).facts == {"licence": "MIT"} == first.facts
    write_corpus(texts(301), tmp_path / "three")
    assert publish_corpus(store, tmp_path / "three", "x", {}).version != first.version


def test_a_damaged_shard_is_named_and_not_read(store: FolderStore, tmp_path: Path) -> None:
    write_corpus(texts(50), tmp_path / "c")
    corpus = publish_corpus(store, tmp_path / "c", "x", {})
    shard = store.root / corpus.prefix / "corpus-00000.parquet"
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(bytes(content))
    with pytest.raises(DamagedError, match=r"corpus-00000\.parquet"):
        list(read_corpus(corpus))


def test_the_manifest_says_where_the_text_came_from(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    source = inspect(str(tmp_path))
    facts = corpus_facts("plays", source, CorpusStats(3, 40, 2, 1), {"passed": True})
    assert facts == {
        "kind": "corpus",
        "name": "plays",
        "rows": 3,
        "bytes": 40,
        "duplicates": 2,
        "empty": 1,
        "source": {"kind": "folder", "version": source.version, "summary": "1 file (1 txt), 4 bytes of text"},
        "sources": [{"name": "a.txt", "sha256": "982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a851fead67c32c9d1", "bytes": 4}],
        "licence": "",
        "interpreter": "",
        "validation": {"passed": True},
    }


def test_repetitions_stay_where_they_are_to_stay(tmp_path: Path) -> None:
    given = [Document(f"d{number}", f"d{number}", "f", "the same words") for number in range(3)]
    assert write_corpus(given, tmp_path / "all", unique=False).rows == 3
    assert write_corpus(given, tmp_path / "one").duplicates == 2
