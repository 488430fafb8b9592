"""Which rows make the batch of a step: a pure function of (seed, step, global batch size), never of workers or history.

An epoch cuts the stream into rows at a random offset and visits each row once in a random order. Nothing is stored: the
order is a keyed permutation (a Feistel network, Black & Rogaway, 2002) that answers for any place in constant time.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infra.store.errors import InputError
from llm.data.tokens import TokenStream

_ROUNDS = 4


@dataclass(frozen=True)
class BatchOrder:
    """Rows of `length` + 1 tokens (inputs and, shifted by one, targets) out of a stream of `n_tokens`."""

    n_tokens: int
    length: int
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        if self.n_tokens < self.length + 1:
            raise InputError(
                f"the training documents have {self.n_tokens} tokens, one row takes {self.length + 1}",
                where="training.sequence_length",
                mend="Give more text, or a smaller training.sequence_length.",
            )

    @property
    def rows_per_epoch(self) -> int:
        return max(1, (self.n_tokens - self.length) // self.length)

    def epochs(self, step: int) -> NDArray[np.int64]:
        """How often every row was visited before each row of the batch of `step`: (batch_size,)."""
        return epochs_of(step, self.batch_size, self.rows_per_epoch)

    def starts(self, step: int) -> NDArray[np.int64]:
        """Where in the stream each row of the batch of `step` (from 0) starts: (batch_size,)."""
        rows, keys = rows_of(step, self.batch_size, self.rows_per_epoch, self.seed)
        room = self.n_tokens - self.rows_per_epoch * self.length  # tokens that fit no whole row: where the cut may start
        starts: NDArray[np.int64] = rows * self.length + keys % max(1, room)
        return starts

    def tokens(self, step: int) -> int:
        """The inputs of the batch of any step."""
        return self.batch_size * self.length


def rows_of(step: int, batch_size: int, n_rows: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which of `n_rows` rows make the batch of `step` (from 0), each once an epoch, and the key of each one's epoch.

    (batch_size,) twice. A batch takes the last rows of an epoch and the first of the next one where an epoch ends within it.
    """
    epochs, within = np.divmod(np.arange(step * batch_size, (step + 1) * batch_size), n_rows)
    rows, keys = np.empty(batch_size, dtype=np.int64), np.empty(batch_size, dtype=np.int64)
    for epoch in np.unique(epochs):
        chosen = epochs == epoch
        keys[chosen] = key = _key(seed, int(epoch))
        rows[chosen] = permute(within[chosen], n_rows, key)
    return rows, keys


def epochs_of(step: int, batch_size: int, n_rows: int) -> NDArray[np.int64]:
    """The epoch (from 0) of each row that `rows_of` gives: (batch_size,)."""
    epochs: NDArray[np.int64] = np.arange(step * batch_size, (step + 1) * batch_size) // n_rows
    return epochs


def read_batch(stream: TokenStream, starts: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Rows of inputs and targets: (len(starts), length + 1)."""
    return np.stack([stream.read(int(start), length + 1) for start in starts]).astype(np.int64)


def permute(places: NDArray[np.int64], n: int, key: int) -> NDArray[np.int64]:
    """Where each place of 0..n-1 goes under the permutation that `key` chooses."""
    half = max(1, (max(n - 1, 1).bit_length() + 1) // 2)
    mask = np.uint64((1 << half) - 1)
    keys = [np.uint64(_key(key, turn) & 0xFFFFFFFF) for turn in range(_ROUNDS)]
    values = places.astype(np.uint64)
    todo = np.ones(len(values), dtype=bool)
    while todo.any():  # the network permutes a power of four: walk on until inside 0..n-1
        left, right = values[todo] >> np.uint64(half), values[todo] & mask
        for round_key in keys:
            left, right = right, left ^ (_mix(right + round_key) & mask)
        values[todo] = (left << np.uint64(half)) | right
        todo = values >= n
    return values.astype(np.int64)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele et al., 2014): every input bit reaches every output bit."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _key(*parts: int) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:7], "little")
