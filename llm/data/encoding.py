"""Texts to token ids on all cores: batches of like size in flight together, handed back in their order as numpy arrays."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from llm.text.pieces import PieceEncoder
from llm.text.special import check_single_bos
from llm.text.tokenizer import Tokenizer

T = TypeVar("T")
BATCH_BYTES: Final = 1_000_000  # of text: the library holds a hundred bytes a token while it encodes


@dataclass(frozen=True, eq=False)
class Encoded:
    """Documents as ids, one after the other, each with bos, if the tokenizer has one, and eos. lengths: (documents,) int64."""

    ids: NDArray[Any]
    lengths: NDArray[np.int64]

    def select(self, chosen: NDArray[np.bool_]) -> "Encoded":
        """These documents alone, in their order. chosen: (documents,)."""
        if chosen.all():
            return self
        return Encoded(self.ids[np.repeat(chosen, self.lengths)], self.lengths[chosen])


def encode_documents(
    batches: Iterable[tuple[T, Sequence[str]]], tokenizer: Tokenizer, *, threads: int = 0
) -> Iterator[tuple[T, Encoded]]:
    """The documents of each batch, in order, beside whatever else belongs to them.

    Where a tokenizer can be followed by pieces, one thread does that, while others read and write. Else the library encodes the
    texts of one batch on all cores, without Python's lock; that other batches are under way keeps the cores at work while a batch
    ends in one long document. threads: how many; 0: what suits. How many there are changes nothing of what comes out.
    """
    encoder = DocumentEncoder(tokenizer)
    threads = threads or (1 if encoder.by_pieces else (os.cpu_count() or 1) + 1)
    with ThreadPoolExecutor(threads, thread_name_prefix="encode") as pool:
        waiting: deque[tuple[T, Future[Encoded]]] = deque()
        try:
            for beside, texts in batches:
                waiting.append((beside, pool.submit(encoder.encode, texts)))
                if len(waiting) > threads:
                    yield _done(*waiting.popleft())
            while waiting:
                yield _done(*waiting.popleft())
        finally:
            for _, future in waiting:
                future.cancel()


def _done(beside: T, future: Future[Encoded]) -> tuple[T, Encoded]:
    return beside, future.result()


class DocumentEncoder:
    """Texts to documents of ids, by the fastest way that gives the tokenizer's own."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer, self._dtype = tokenizer, token_dtype(tokenizer.size)
        self._pieces = PieceEncoder.of(tokenizer, self._dtype)

    @property
    def by_pieces(self) -> bool:
        return self._pieces is not None

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Raises DoubledBosError where a text gives a bos of its own."""
        rows: list[Any] = self._pieces.encode(texts) if self._pieces else self._tokenizer.encode_batch(texts)
        bos, eos = self._tokenizer.bos, self._tokenizer.eos
        begin = int(bos is not None)
        lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows)) + begin + 1
        ids = np.full(int(lengths.sum()), eos if bos is None else bos, dtype=self._dtype)
        ends = np.cumsum(lengths)
        for row, length, end in zip(rows, lengths.tolist(), ends.tolist(), strict=True):
            if begin and len(row):
                check_single_bos(self._tokenizer, [int(row[0])], allowed=0)
            ids[end - length + begin : end - 1] = row
        ids[ends - 1] = eos
        return Encoded(ids, lengths)


def token_dtype(vocabulary: int) -> np.dtype[Any]:
    """uint16, or uint32 for vocabularies beyond 65,536; little-endian."""
    return np.dtype("<u2") if vocabulary <= 2**16 else np.dtype("<u4")
