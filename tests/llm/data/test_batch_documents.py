"""From a batch back to documents: every token of a row belongs to exactly one, told by its place, also across shards."""

from pathlib import Path

import numpy as np
import pytest

from infra.store.folder import FolderStore
from llm.data.batch_documents import batch_rows
from llm.data.batches import BatchOrder, read_batch
from llm.data.tokens import TokenStream
from tests.llm.data.test_tokens import shards, texts


@pytest.mark.parametrize("shard_tokens", [100, 1_000_000])
def test_the_pieces_of_every_row_are_the_documents_that_were_written_there(
    store: FolderStore, tmp_path: Path, shard_tokens: int
) -> None:
    documents = texts(50)
    thing, tokenizer, splits = shards(store, tmp_path / "f", documents, shard_tokens)
    stream = TokenStream(thing, "train")
    written = [
        [*tokenizer.encode(document.text), tokenizer.eos]
        for document, split in zip(documents, splits, strict=True)
        if split == "train"
    ]
    order = BatchOrder(len(stream), length=40, batch_size=7, seed=5)
    seen = set()
    for step in range(12):
        rows = batch_rows(stream, order, step)
        batch = read_batch(stream, order.starts(step), 40)
        assert np.array_equal([row.ids for row in rows], batch)
        for row in rows:
            spelled = [token for piece in row.pieces for token in written[piece.document][piece.first : piece.last + 1]]
            assert spelled == row.ids.tolist()
            assert [piece.tokens for piece in row.pieces] == [len(written[piece.document]) for piece in row.pieces]
            assert all(piece.ends == (piece.ids[-1] == tokenizer.eos) for piece in row.pieces)
            seen |= {piece.document for piece in row.pieces}
    assert seen >= set(range(1, len(written) - 1)), "in a few epochs all are read but what an epoch's cut leaves at the ends"
    assert [stream.document(number).tolist() for number in (0, len(written) - 1)] == [written[0], written[-1]]


def test_the_epoch_of_a_row_is_how_often_all_rows_were_read_before(store: FolderStore, tmp_path: Path) -> None:
    thing, _, _ = shards(store, tmp_path / "f", texts(50), 1_000_000)
    stream = TokenStream(thing, "train")
    order = BatchOrder(len(stream), length=40, batch_size=7, seed=5)
    epochs = [row.epoch for step in range(12) for row in batch_rows(stream, order, step)]
    assert epochs == [place // order.rows_per_epoch for place in range(84)]
    assert max(epochs) >= 1
