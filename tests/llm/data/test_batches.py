"""Data order: a pure function of seed, step and batch size; every row once an epoch, reshuffled each epoch."""

import numpy as np
import pytest

from infra.store.errors import InputError
from llm.data.batches import BatchOrder, permute


@pytest.mark.parametrize("n", [1, 2, 3, 16, 17, 1000, 4097])
def test_a_permutation_visits_every_place_once(n: int) -> None:
    assert sorted(permute(np.arange(n), n, key=7).tolist()) == list(range(n))


def test_an_epoch_reads_every_row_once_and_the_next_one_in_another_order() -> None:
    order = BatchOrder(n_tokens=64 * 100 + 17, length=64, batch_size=9, seed=3)
    rows = order.rows_per_epoch
    steps = -(-2 * rows // 9)
    starts = np.concatenate([order.starts(step) for step in range(steps)])
    first, second = starts[:rows], starts[rows : 2 * rows]
    for epoch in (first, second):
        assert len(set(epoch.tolist())) == rows
        assert set(np.diff(np.sort(epoch)).tolist()) == {64}
        assert epoch.min() >= 0
        assert epoch.max() + 65 <= order.n_tokens
    assert (first[:10] != second[:10]).any()
    assert (np.diff(first) != 64).mean() > 0.9


def test_the_batch_of_a_step_is_the_same_whoever_asks_and_whenever() -> None:
    order = BatchOrder(n_tokens=10_000, length=32, batch_size=8, seed=1)
    late = BatchOrder(n_tokens=10_000, length=32, batch_size=8, seed=1).starts(500)
    assert late.tolist() == [order.starts(step) for step in range(501)][-1].tolist()
    assert late.tolist() != BatchOrder(n_tokens=10_000, length=32, batch_size=8, seed=2).starts(500).tolist()


def test_the_order_never_changes_between_versions() -> None:
    order = BatchOrder(n_tokens=1_000_000, length=256, batch_size=4, seed=1)
    assert [order.starts(step).tolist() for step in (0, 1_000_000)] == GOLDEN


def test_a_stream_shorter_than_a_row_is_refused_with_the_mend() -> None:
    with pytest.raises(InputError, match="has 10 tokens|have 10 tokens"):
        BatchOrder(n_tokens=10, length=10, batch_size=1, seed=0)
    assert BatchOrder(n_tokens=11, length=10, batch_size=2, seed=0).starts(0).tolist() == [0, 0]


GOLDEN = [[261539, 883107, 382883, 107939], [350097, 14737, 790929, 758417]]
