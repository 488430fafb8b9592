"""Texts to token ids on all cores: batches of like size in flight together, handed back in their order as numpy arrays."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

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

    The library encodes the texts of one batch on all cores, without Python's lock; that other batches are under way keeps the cores
    at work while a batch ends in one long document, is read or is written. threads: how many; 0: one more than cores. How many
    there are changes nothing of what comes out.
    """
    threads = threads or (os.cpu_count() or 1) + 1
    with ThreadPoolExecutor(threads, thread_name_prefix="encode") as pool:
        waiting: deque[tuple[T, Future[Encoded]]] = deque()
        try:
            for beside, texts in batches:
                waiting.append((beside, pool.submit(encode_batch, texts, tokenizer)))
                if len(waiting) > threads:
                    yield _done(*waiting.popleft())
            while waiting:
                yield _done(*waiting.popleft())
        finally:
            for _, future in waiting:
                future.cancel()


def _done(beside: T, future: Future[Encoded]) -> tuple[T, Encoded]:
    return beside, future.result()


def encode_batch(texts: Sequence[str], tokenizer: Tokenizer) -> Encoded:
    """One batch of documents."""
    rows = tokenizer.encode_batch(texts)
    before = () if tokenizer.bos is None else (tokenizer.bos,)
    for row in rows if before else ():
        check_single_bos(tokenizer, row, allowed=0)
    lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows)) + len(before) + 1
    pieces = chain.from_iterable((*((before,) if before else ()), row, (tokenizer.eos,)) for row in rows)
    ids = np.fromiter(chain.from_iterable(pieces), dtype=token_dtype(tokenizer.size), count=int(lengths.sum()))
    return Encoded(ids, lengths)


def token_dtype(vocabulary: int) -> np.dtype[Any]:
    """uint16, or uint32 for vocabularies beyond 65,536; little-endian."""
    return np.dtype("<u2") if vocabulary <= 2**16 else np.dtype("<u4")
