"""Examples on their way into batches: in which order they are visited, and how rows of unequal length become one tensor."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llm.data.batches import epochs_of, pass_over, passed_over, permute, rows_of
from llm.data.windows import Windows


@dataclass(frozen=True, eq=False)
class ExampleOrder:
    """Each of n examples once an epoch, in a random order of its own: a pure function of (seed, step, batch size).

    among: of so many steps in a row, the examples are dealt out again by length, to have like lengths in one batch and little
    padding, and the batches are visited in a random order. Chats of 20 to 120 tokens in batches of 16, among 8: 9 % padding
    and not 42 %. skip_steps: steps (from 0, of a run without a skip list) whose batches are passed over.
    """

    lengths: NDArray[np.int64]  # (n,) tokens of each example
    batch_size: int
    seed: int
    among: int = 1
    skip_steps: Windows = ()

    def starts(self, step: int) -> NDArray[np.int64]:
        """The examples of the batch of `step` (from 0), by number: (batch_size,)."""
        return self._dealt(step)[0]

    def epochs(self, step: int) -> NDArray[np.int64]:
        """The epoch (from 0) in which each of them is visited: (batch_size,)."""
        return self._dealt(step)[1]

    def _dealt(self, step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        turn, within = divmod(int(pass_over(np.array([step]), self.skip_steps)[0]), self.among)
        size, count = self.among * self.batch_size, len(self.lengths)
        (rows, keys), epochs = rows_of(turn, size, count, self.seed), epochs_of(turn, size, count)
        if self.among == 1:
            return rows, epochs
        batch = permute(np.array([within]), self.among, int(keys[0]) + turn)[0]
        chosen = np.lexsort((rows, self.lengths[rows]))[batch * self.batch_size : (batch + 1) * self.batch_size]
        return rows[chosen], epochs[chosen]

    def without(self, first: int, last: int) -> Self:
        """This order, but that the batches of its steps `first` to `last` are never read; those after them move up."""
        return replace(self, skip_steps=passed_over(self.skip_steps, first, last))

    def tokens(self, step: int) -> int:
        """Their tokens together, without padding."""
        return int(self.lengths[self.starts(step)].sum())


def padded(rows: Sequence[Sequence[int]], fill: int = 0) -> Tensor:
    """Rows filled up on the right to the longest of them, where a causal model does not look: int64 (B, T)."""
    batch = torch.full((len(rows), max(map(len, rows))), fill)
    for place, row in enumerate(rows):
        batch[place, : len(row)] = torch.tensor(row)
    return batch
