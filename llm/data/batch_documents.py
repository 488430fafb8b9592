"""What a batch was made of: which documents each row overlaps, and where. The inverse of `write_tokens` and `BatchOrder`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.store.manifest import Thing
from llm.data.batches import BatchOrder, read_batch
from llm.data.mixed_documents import Copies, mix_hashes
from llm.data.mixing import source_of
from llm.data.splitting import SPLITS, split_rule
from llm.data.token_parts import read_columns, read_names
from llm.data.tokens import TokenStream


@dataclass(frozen=True)
class Piece:
    """The part of one document that lies in a row: its tokens `first` to `last` (from 0, last included) of `tokens`.

    `document` is its place among the documents of the split. The last of a document's tokens is the end-of-text token.
    """

    document: int
    first: int
    last: int
    tokens: int
    ids: NDArray[np.int64]

    @property
    def ends(self) -> bool:
        """Whether the document's end-of-text token is in the row."""
        return self.last == self.tokens - 1


@dataclass(frozen=True)
class Row:
    """One row of a batch: inputs and, shifted by one, targets, `ids` (length + 1) from `start` of the stream."""

    start: int
    epoch: int
    ids: NDArray[np.int64]
    pieces: tuple[Piece, ...]


def batch_rows(stream: TokenStream, order: BatchOrder, step: int) -> tuple[Row, ...]:
    """The rows that training read at `step` (from 0), each with the documents it overlaps, in their order."""
    documents = stream.document_starts()
    bounds = np.append(documents, len(stream))
    starts = order.starts(step)
    batch = read_batch(stream, starts, order.length)
    return tuple(
        Row(int(start), int(epoch), ids, _pieces(bounds, int(start), ids))
        for start, epoch, ids in zip(starts, order.epochs(step), batch, strict=True)
    )


def training_rows(
    corpus: Thing, mixture: Mapping[str, Mapping[str, Any]], *, validation_share: float, test_share: float
) -> NDArray[np.int64]:
    """Which row of the corpus (from 0) each document of the training stream is: (documents,).

    mixture: what the manifest of the tokens says of the sources; empty where none are mixed. Then documents stand in the order of
    the corpus; else those that are taken again stand after all others, once more for each time.
    """
    rule = split_rule(read_names(corpus), validation_share=validation_share, test_share=test_share)
    copies = Copies(
        np.array([of["copies"] for of in mixture.values()], dtype=np.int64),
        tuple(int(of["once_more_below"]) for of in mixture.values()),
    )
    places: list[NDArray[np.int64]] = []
    counts: list[NDArray[np.int64]] = []
    seen = 0
    for ids, parents, sources in read_columns(corpus, "id", "parent", "source"):
        chosen = np.flatnonzero(rule.of(ids, parents) == SPLITS.index("train"))
        places.append(chosen + seen)
        seen += len(ids)
        if mixture:
            names = list(mixture)
            of = {source: names.index(source_of(source, names)) for source in set(sources)}
            numbers = np.array([of[sources[place]] for place in chosen], dtype=np.int64)
            counts.append(copies.counts(mix_hashes([ids[place] for place in chosen]), numbers))
    rows = np.concatenate(places)
    if not mixture:
        return rows
    times = np.concatenate(counts)
    return np.concatenate([rows[times > turn] for turn in range(int(times.max(initial=0)))] or [rows[:0]])


def _pieces(bounds: NDArray[np.int64], start: int, ids: NDArray[np.int64]) -> tuple[Piece, ...]:
    end = start + len(ids)
    first, last = np.searchsorted(bounds, [start, end - 1], side="right") - 1
    found = []
    for document in range(int(first), int(last) + 1):
        begins, ends = int(bounds[document]), int(bounds[document + 1])
        left, right = max(begins, start), min(ends, end)
        found.append(Piece(document, left - begins, right - begins - 1, ends - begins, ids[left - start : right - start]))
    return tuple(found)
