"""What a batch was made of: which documents each row overlaps, and where. The inverse of `write_tokens` and `BatchOrder`."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llm.data.batches import BatchOrder, read_batch
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


def _pieces(bounds: NDArray[np.int64], start: int, ids: NDArray[np.int64]) -> tuple[Piece, ...]:
    end = start + len(ids)
    first, last = np.searchsorted(bounds, [start, end - 1], side="right") - 1
    found = []
    for document in range(int(first), int(last) + 1):
        begins, ends = int(bounds[document]), int(bounds[document + 1])
        left, right = max(begins, start), min(ends, end)
        found.append(Piece(document, left - begins, right - begins - 1, ends - begins, ids[left - start : right - start]))
    return tuple(found)
