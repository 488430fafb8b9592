"""A corpus in parts gives the shards it would give as a whole, whatever the parts, the batches and the threads."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from infra.store.errors import InputError
from infra.store.folder import FolderStore
from infra.store.manifest import Thing, describe, publish
from llm.data import encoding, token_parts
from llm.data.encoding import encode_documents, token_dtype
from llm.data.mixed_documents import choose_copies, tokens_taken
from llm.data.mixing import mix
from llm.data.splitting import SPLITS, SplitRule, split_documents, split_rule
from llm.data.token_parts import join_parts, plan_parts, read_names, tokenize_part
from llm.data.tokens import TokenStream, write_tokens
from llm.text.tokenizer import Tokenizer
from tests.llm.data.token_corpus import texts, write_corpus

SHARES = {"validation_share": 0.1, "test_share": 0.1}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train((document.text for document in texts(100)), 400)


def tokenized(
    store: FolderStore, corpus: Thing, tokenizer: Tokenizer, scratch: Path, part_bytes: int, sources: Sequence[str] = ()
) -> tuple[list[Thing], SplitRule]:
    rule = split_rule(read_names(corpus), **SHARES)
    parts = []
    for number, part in enumerate(plan_parts(corpus, part_bytes)):
        folder = scratch / str(number)
        facts = tokenize_part(corpus, part, tokenizer, rule, folder, sources=sources)
        parts.append(publish(store, f"parts/{scratch.name}/{number}", folder, facts))
    return parts, rule


@pytest.mark.parametrize(("part_bytes", "batch_bytes", "shard_tokens"), [(1, 50, 400), (3000, 200, 10**9), (10**9, 10**6, 400)])
def test_the_shards_are_those_of_the_whole_corpus_written_at_once(
    store: FolderStore,
    tmp_path: Path,
    tokenizer: Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
    part_bytes: int,
    batch_bytes: int,
    shard_tokens: int,
) -> None:
    documents = texts(260)
    monkeypatch.setattr(token_parts, "BATCH_BYTES", batch_bytes)
    splits = split_documents(documents, **SHARES).splits
    whole = write_tokens(documents, splits, tokenizer, tmp_path / "whole", shard_tokens=shard_tokens)
    corpus = write_corpus(store, tmp_path / "corpus", documents)
    parts, _ = tokenized(store, corpus, tokenizer, tmp_path / "parts", part_bytes)
    counts = join_parts(parts, tmp_path / "joined", token_dtype(tokenizer.size), shard_tokens=shard_tokens)
    assert describe(tmp_path / "joined") == describe(tmp_path / "whole")
    assert counts == whole
    assert len(parts) == {1: 15, 3000: len(parts), 10**9: 1}[part_bytes]
    assert sum(part.facts["splits"]["train"]["documents"] for part in parts) == splits.count("train")


def test_parts_follow_each_other_through_files_and_hold_every_row_group_once(store: FolderStore, tmp_path: Path) -> None:
    corpus = write_corpus(store, tmp_path / "corpus", texts(260))
    for part_bytes, count in ((1, 15), (8_000, 3), (10**9, 1)):
        plan = plan_parts(corpus, part_bytes)
        groups = [(span.file, group) for part in plan for span in part.spans for group in range(span.first, span.end)]
        assert groups == sorted(set(groups))
        assert (len(plan), len(groups)) == (count, 15)
        assert sum(part.rows for part in plan) == 260
        assert all(part.bytes >= part_bytes for part in plan[:-1])


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_the_number_of_threads_changes_nothing(tokenizer: Tokenizer, threads: int) -> None:
    batches = [(number, [document.text for document in texts(9, seed=number)]) for number in range(30)]
    found = list(encode_documents(batches, tokenizer, threads=threads))
    assert [number for number, _ in found] == list(range(30))
    for (_, rows), (_, encoded) in zip(batches, found, strict=True):
        ids = [[*tokenizer.encode(text), tokenizer.eos] for text in rows]
        assert encoded.lengths.tolist() == [len(row) for row in ids]
        assert encoded.ids.tolist() == [token for row in ids for token in row]
        assert encoded.ids.dtype == np.dtype("<u2")


def test_an_error_while_encoding_comes_out_and_nothing_goes_on(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding.DocumentEncoder, "encode", lambda encoder, texts: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(encode_documents(((number, ["text"]) for number in range(50)), tokenizer))


def test_sources_come_in_the_proportion_of_their_weights_and_what_is_held_back_is_never_repeated(
    store: FolderStore, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    documents = [
        *texts(1500, source="web/a.jsonl"),
        *texts(600, source="books/b.txt", seed=1),
        *texts(300, source="code/c.py", seed=2),
    ]
    corpus = write_corpus(store, tmp_path / "corpus", documents, group=200, file=500)
    names = ("books", "code", "web")
    parts, rule = tokenized(store, corpus, tokenizer, tmp_path / "parts", 8_000, names)
    tokens = {name: sum(part.facts["sources"][name] for part in parts) for name in names}
    weights = {"books": 2.0, "code": 1.0, "web": 1.0}
    copies = choose_copies(parts, taken := mix(tokens, weights))
    counts = join_parts(parts, tmp_path / "joined", token_dtype(tokenizer.size), copies)
    came = tokens_taken(parts, copies)
    assert [share / sum(came) for share in came] == pytest.approx([0.5, 0.25, 0.25], abs=0.002)
    assert sum(came) == counts["train"].tokens == pytest.approx(sum(tokens.values()), rel=0.005)
    assert [each.copies for each in taken.values()] == [1, 2, 0]
    thing = publish(store, "datasets/mixed/1", tmp_path / "joined", {"dtype": token_dtype(tokenizer.size).str})
    place = {name: number for number, name in enumerate(SPLITS)}
    given = rule.of([document.id for document in documents], [document.parent for document in documents])
    for split in ("validation", "test"):
        expected = [document.text for document, of in zip(documents, given, strict=True) if of == place[split]]
        assert [tokenizer.decode(ids.tolist()) for ids in TokenStream(thing, split).documents()] == expected
    read = [tokenizer.decode(ids.tolist()) for ids in TokenStream(thing, "train").documents()]
    assert counts["train"].bytes == sum(len(text.encode()) for text in read)
    train = [document for document, of in zip(documents, given, strict=True) if of == 0]
    once = [document.text for document in train if not document.source.startswith("web/")]
    assert [text for text in read if "web/" not in text][: len(once)] == once, "a copy stands after every document once"
    assert {read.count(text) for text in once} == {1, 2, 3}
    assert {read.count(document.text) for document in train if document.source.startswith("web/")} == {0, 1}


def test_a_document_of_a_source_without_weight_is_named(store: FolderStore, tmp_path: Path, tokenizer: Tokenizer) -> None:
    corpus = write_corpus(store, tmp_path / "corpus", [*texts(40, source="web/a.jsonl"), *texts(9, source="other/b.txt")])
    with pytest.raises(InputError, match="other/b.txt belongs to none"):
        tokenized(store, corpus, tokenizer, tmp_path / "parts", 10**9, ("web",))


def test_counts_of_a_part_stand_in_its_manifest(store: FolderStore, tmp_path: Path, tokenizer: Tokenizer) -> None:
    documents = texts(60)
    corpus = write_corpus(store, tmp_path / "corpus", documents)
    (part,), rule = tokenized(store, corpus, tokenizer, tmp_path / "parts", 10**9)
    splits = split_documents(documents, **SHARES).splits
    counted = write_tokens(documents, splits, tokenizer, tmp_path / "whole")
    assert part.facts["splits"] == {split: asdict(count) for split, count in counted.items()}
    assert rule.by == "passage"
