"""Every example is seen once an epoch, in an order that a resumed run and any number of workers see again."""

import numpy as np
import torch

from llm.data.examples import ExampleOrder, padded

LENGTHS = np.arange(1, 24)


def test_each_example_is_visited_once_an_epoch_in_an_order_of_its_own() -> None:
    order = ExampleOrder(LENGTHS, batch_size=4, seed=1)
    visited = np.concatenate([order.starts(step) for step in range(23)])  # four epochs of 23
    epochs = visited.reshape(4, 23)
    assert all(sorted(epoch) == list(range(23)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_the_order_is_that_of_the_seed_and_the_step_alone() -> None:
    order = ExampleOrder(LENGTHS, batch_size=4, seed=1)
    assert np.array_equal(order.starts(7), ExampleOrder(LENGTHS, batch_size=4, seed=1).starts(7))
    assert not np.array_equal(order.starts(7), ExampleOrder(LENGTHS, batch_size=4, seed=2).starts(7))


def test_tokens_are_counted_without_padding() -> None:
    order = ExampleOrder(LENGTHS, batch_size=4, seed=1)
    assert order.tokens(3) == sum(LENGTHS[order.starts(3)])
    assert sum(order.tokens(step) for step in range(23)) == 4 * LENGTHS.sum()


def test_rows_are_filled_up_on_the_right() -> None:
    batch = padded([[1, 2, 3], [4]], fill=9)
    assert torch.equal(batch, torch.tensor([[1, 2, 3], [4, 9, 9]]))
    assert batch.dtype == torch.int64


def test_like_lengths_are_put_together_and_still_each_example_comes_once_an_epoch() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 128)
    apart, together = (ExampleOrder(lengths, batch_size=4, seed=1, among=among) for among in (1, 8))
    visited = np.concatenate([together.starts(step) for step in range(64)])
    assert all(sorted(epoch) == list(range(128)) for epoch in visited.reshape(2, 128))
    assert np.array_equal(together.starts(9), ExampleOrder(lengths, batch_size=4, seed=1, among=8).starts(9))

    def padding(order: ExampleOrder) -> float:
        batches = [lengths[order.starts(step)] for step in range(64)]
        return float(1 - sum(batch.sum() for batch in batches) / sum(4 * batch.max() for batch in batches))

    assert padding(together) < padding(apart) / 3
    longest = [int(lengths[together.starts(step)].max()) for step in range(8)]
    assert longest not in (sorted(longest), sorted(longest, reverse=True))  # not from short to long


def test_the_batches_of_a_window_are_left_out_and_those_after_them_move_up() -> None:
    order = ExampleOrder(LENGTHS, batch_size=4, seed=1, among=8)
    without = order.without(3, 5).without(4, 4)
    left = [0, 1, 2, 6, 8, 9, 10]
    assert [without.starts(step).tolist() for step in range(7)] == [order.starts(step).tolist() for step in left]
    assert without.tokens(4) == order.tokens(8)
