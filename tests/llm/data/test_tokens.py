"""Token shards: every document whole, in one split, back as it was."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from infra.store.errors import DamagedError, InputError
from infra.store.folder import FolderStore
from infra.store.manifest import Thing, publish
from llm.data.encoding import token_dtype
from llm.data.splitting import SPLITS, Split, split_documents
from llm.data.tokens import TokenStream, write_tokens
from llm.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Text:
    id: str
    parent: str
    text: str


def texts(n: int, passages: int = 1) -> list[Text]:
    return [
        Text(f"{i}.{p}", str(i), f"document {i} passage {p}: the cat sat on mat {i * p}") for i in range(n) for p in range(passages)
    ]


def shards(
    store: FolderStore, folder: Path, documents: Sequence[Text], shard_tokens: int
) -> tuple[Thing, Tokenizer, tuple[Split, ...]]:
    tokenizer = Tokenizer.train((document.text for document in documents), 300)
    splits = split_documents(documents, validation_share=0.1, test_share=0.1).splits
    counts = write_tokens(documents, splits, tokenizer, folder, shard_tokens=shard_tokens)
    facts = {"dtype": token_dtype(tokenizer.size).str, "splits": {split: vars(count) for split, count in counts.items()}}
    return publish(store, "datasets/d/1", folder, facts), tokenizer, splits


@pytest.mark.parametrize("shard_tokens", [100, 1_000_000])
def test_every_document_is_in_one_split_and_comes_back_as_it_was(store: FolderStore, tmp_path: Path, shard_tokens: int) -> None:
    documents = texts(50)
    thing, tokenizer, splits = shards(store, tmp_path / "f", documents, shard_tokens)
    for split in SPLITS:
        stream = TokenStream(thing, split)
        expected = [document.text for document, chosen in zip(documents, splits, strict=True) if chosen == split]
        assert [tokenizer.decode(ids.tolist()) for ids in stream.documents()] == expected
        flat = [token for text in expected for token in [*tokenizer.encode(text), tokenizer.eos]]
        assert stream.read(0, len(stream)).tolist() == flat
        assert thing.facts["splits"][split] == {
            "documents": len(expected),
            "tokens": len(flat),
            "bytes": sum(len(text) for text in expected),
        }
    assert (len([name for name in thing.files if name.startswith("train-")]) > 2) is (shard_tokens == 100)


def test_a_read_across_shards_is_seamless(store: FolderStore, tmp_path: Path) -> None:
    thing, _, _ = shards(store, tmp_path / "f", texts(50), 100)
    stream = TokenStream(thing, "train")
    whole = stream.read(0, len(stream))
    for start in range(0, len(stream) - 150, 37):
        np.testing.assert_array_equal(stream.read(start, 150), whole[start : start + 150])


def test_a_document_stays_in_its_split_when_others_come() -> None:
    few, many = texts(400), texts(4000)
    kept = dict(
        zip((document.id for document in many), split_documents(many, validation_share=0.1, test_share=0.1).splits, strict=True)
    )
    moved = sum(
        kept[document.id] != split
        for document, split in zip(few, split_documents(few, validation_share=0.1, test_share=0.1).splits, strict=True)
    )
    assert moved / len(few) < 0.06  # only those at the edge of a share


def test_passages_of_a_document_stay_together_where_there_are_documents_enough() -> None:
    documents = texts(300, passages=4)
    splitting = split_documents(documents, validation_share=0.1, test_share=0.1)
    assert splitting.by == "document"
    by_parent: dict[str, set[str]] = {}
    for document, split in zip(documents, splitting.splits, strict=True):
        by_parent.setdefault(document.parent, set()).add(split)
    assert {len(found) for found in by_parent.values()} == {1}


def test_one_book_is_split_by_passage() -> None:
    splitting = split_documents(texts(1, passages=40), validation_share=0.05, test_share=0.05)
    assert splitting.by == "passage"
    assert [splitting.splits.count(split) for split in SPLITS] == [36, 2, 2]


def test_too_few_documents_are_refused_with_the_mend() -> None:
    with pytest.raises(InputError, match=r"2 document\(s\)"):
        split_documents(texts(2), validation_share=0.1, test_share=0.1)


def test_a_damaged_shard_is_named_and_not_read(store: FolderStore, tmp_path: Path) -> None:
    thing, _, _ = shards(store, tmp_path / "f", texts(50), 1_000_000)
    path = store.root / "datasets/d/1/train-00000.bin"
    content = bytearray(path.read_bytes())
    content[10] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DamagedError, match=r"train-00000\.bin"):
        TokenStream(thing, "train")


def test_a_large_vocabulary_takes_four_bytes() -> None:
    assert (token_dtype(65_536).itemsize, token_dtype(65_537).itemsize) == (2, 4)
