"""Which rows make the batch of a step: a pure function of (seed, step, global batch size, skip list), never of workers or history.

An epoch cuts the stream into rows at a random offset and visits each row once in a random order. Nothing is stored: the
order is a keyed permutation (a Feistel network, Black & Rogaway, 2002) that answers for any place in constant time.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from infra.store.errors import InputError
from llm.data.tokens import TokenStream
from llm.data.windows import Windows, merged

_ROUNDS = 4


@dataclass(frozen=True)
class BatchOrder:
    """Rows of `length` + 1 tokens (inputs and, shifted by one, targets) out of a stream of `n_tokens`.

    skip_steps: steps (from 0, of a run without a skip list) whose batches are passed over; the batches after them move up.
    skip_tokens: places in the stream; a row that could hold one of them at any of the offsets is never read.
    """

    n_tokens: int
    length: int
    batch_size: int
    seed: int
    skip_steps: Windows = ()
    skip_tokens: Windows = ()

    def __post_init__(self) -> None:
        if self.n_tokens < self.length + 1:
            raise InputError(
                f"the training documents have {self.n_tokens} tokens, one row takes {self.length + 1}",
                where="training.sequence_length",
                mend="Give more text, or a smaller training.sequence_length.",
            )
        if self.rows_per_epoch < 1:
            raise InputError(
                f"none of the {self._whole_rows:,} rows of {self.length} tokens is left to read",
                where="training.skip_tokens",
                mend=f"Skip less: the training documents have {self.n_tokens:,} tokens.",
            )

    @property
    def rows_per_epoch(self) -> int:
        return self._whole_rows - sum(end - first for first, end in self._skipped_rows)

    def epochs(self, step: int) -> NDArray[np.int64]:
        """How often every row was visited before each row of the batch of `step`: (batch_size,)."""
        return epochs_of(self._unskipped(step), self.batch_size, self.rows_per_epoch)

    def starts(self, step: int) -> NDArray[np.int64]:
        """Where in the stream each row of the batch of `step` (from 0) starts: (batch_size,)."""
        rows, keys = rows_of(self._unskipped(step), self.batch_size, self.rows_per_epoch, self.seed)
        starts: NDArray[np.int64] = pass_over(rows, self._skipped_rows) * self.length + keys % self._offsets
        return starts

    def without(self, first: int, last: int) -> Self:
        """This order, but that the batches of its steps `first` to `last` are never read; those after them move up."""
        return replace(self, skip_steps=passed_over(self.skip_steps, first, last))

    @property
    def _whole_rows(self) -> int:
        return max(1, (self.n_tokens - self.length) // self.length)

    @property
    def _offsets(self) -> int:
        """Tokens that fit no whole row: at how many places an epoch may begin to cut."""
        return max(1, self.n_tokens - self._whole_rows * self.length)

    def _unskipped(self, step: int) -> int:
        """The step at which a run without a skip list reads the batch of `step`."""
        return int(pass_over(np.array([step]), self.skip_steps)[0])

    @cached_property
    def _skipped_rows(self) -> Windows:
        """Rows that at one of the offsets reach into `skip_tokens`: the same in each epoch, whose length then is too."""
        found = []
        for first, end in self.skip_tokens:
            lowest = max(0, -(-(first - self.length - self._offsets + 1) // self.length))
            if lowest < (beyond := min(self._whole_rows, (end - 1) // self.length + 1)):
                found.append((lowest, beyond))
        return merged(found)

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


def pass_over(places: NDArray[np.int64], skipped: Windows) -> NDArray[np.int64]:
    """Each place (from 0) among those outside the windows as a place among all."""
    for first, end in skipped:
        places = np.where(places >= first, places + (end - first), places)
    return places


def passed_over(skipped: Windows, first: int, last: int) -> Windows:
    """`skipped` and, of the places outside it, those from the `first` to the `last` (from 0, both included)."""
    begin, end = pass_over(np.array([first, last]), skipped).tolist()
    return merged([*skipped, (begin, end + 1)])


def read_batch(stream: TokenStream, starts: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Rows of inputs and targets: (len(starts), length + 1)."""
    batch = np.empty((len(starts), length + 1), dtype=np.int64)
    for row, start in enumerate(starts):
        batch[row] = stream.read(int(start), length + 1)
    return batch


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
