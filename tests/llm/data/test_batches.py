"""Data order: a pure function of seed, step and batch size; every row once an epoch, reshuffled each epoch."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@pytest.mark.parametrize("seed", range(8))
def test_whatever_the_shape_each_epoch_reads_each_row_once(seed: int) -> None:
    random = np.random.default_rng(seed)
    for _ in range(12):
        length, batch_size = int(random.integers(1, 50)), int(random.integers(1, 40))
        n_tokens = length + 1 + int(random.integers(0, 5000))
        order = BatchOrder(n_tokens, length, batch_size, seed=int(random.integers(1000)))
        n = order.rows_per_epoch
        starts = np.concatenate([order.starts(step) for step in range(-(-3 * n // batch_size))])
        epochs = np.concatenate([order.epochs(step) for step in range(-(-3 * n // batch_size))])
        assert starts.min() >= 0
        assert starts.max() + length + 1 <= n_tokens
        for epoch in range(3):
            rows = np.sort(starts[epochs == epoch])
            assert len(rows) == n
            assert set(np.diff(rows).tolist()) <= {length}


def test_workers_share_a_batch_and_however_many_they_are_it_is_the_same_batch() -> None:
    order = BatchOrder(n_tokens=9_999, length=16, batch_size=24, seed=4)
    for world in (1, 2, 3, 8):
        share = 24 // world
        together = np.concatenate([order.starts(11)[rank * share : (rank + 1) * share] for rank in range(world)])
        assert together.tolist() == order.starts(11).tolist()


def test_a_corpus_of_trillions_of_tokens_is_ordered_without_a_table_of_its_rows() -> None:
    order = BatchOrder(n_tokens=15_000_000_000_000, length=2048, batch_size=2048, seed=1)
    assert order.rows_per_epoch > 7_000_000_000
    tracemalloc.start()
    starts = np.concatenate([order.starts(step) for step in (0, 1, 3_576_277, 3_576_278, 10_000_000)])  # the third epoch too
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000
    assert len(set(starts.tolist())) > 0.999 * len(starts)
    assert starts.min() >= 0
    assert starts.max() + 2049 <= order.n_tokens
    assert 0.45 < starts.mean() / order.n_tokens < 0.55


def test_skipped_steps_are_passed_over_and_the_others_move_up() -> None:
    plain = BatchOrder(n_tokens=9_999, length=16, batch_size=24, seed=4)
    order = replace(plain, skip_steps=((3, 5), (7, 10)))
    seen = [0, 1, 2, 5, 6, *range(10, 60)]
    assert [order.starts(step).tolist() for step in range(55)] == [plain.starts(step).tolist() for step in seen]
    assert [order.epochs(step).tolist() for step in range(55)] == [plain.epochs(step).tolist() for step in seen]


@pytest.mark.parametrize("seed", range(6))
def test_a_skipped_token_is_in_no_row_of_any_epoch_and_all_others_rows_still_come_once(seed: int) -> None:
    random = np.random.default_rng(seed)
    length, n_tokens = int(random.integers(2, 40)), int(random.integers(2000, 9000))
    cuts = np.sort(random.integers(0, n_tokens, 4)).tolist()
    skipped = ((cuts[0], cuts[0] + 1), (cuts[1], min(cuts[1] + 90, n_tokens)))
    order = BatchOrder(n_tokens, length, 7, seed=seed, skip_tokens=skipped)
    whole = replace(order, skip_tokens=()).rows_per_epoch
    n = order.rows_per_epoch
    assert whole - (1 + 90 / length + 2 * 4) <= n < whole, "a window costs the rows that it meets and few beside"
    steps = range(-(-5 * n // 7))
    starts, epochs = (np.concatenate([of(step) for step in steps]) for of in (order.starts, order.epochs))
    for first, end in skipped:
        assert not ((starts < end) & (starts + length >= first)).any()
    for epoch in range(5):
        assert len(set(starts[epochs == epoch].tolist())) == n


def test_a_skip_list_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(InputError, match=r"training\.skip_tokens"):
        BatchOrder(n_tokens=1000, length=10, batch_size=1, seed=0, skip_tokens=((0, 1000),))


@given(windows=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 6)), min_size=1, max_size=4))
def test_windows_that_are_left_out_one_after_the_other_are_each_counted_in_the_order_before(windows: list[tuple[int, int]]) -> None:
    order = BatchOrder(n_tokens=9_999, length=16, batch_size=24, seed=4)
    expected = list(range(100))
    for first, more in windows:
        order = order.without(first, first + more)
        del expected[first : first + more + 1]
    plain = BatchOrder(n_tokens=9_999, length=16, batch_size=24, seed=4)
    assert [order.starts(step).tolist() for step in range(40)] == [plain.starts(step).tolist() for step in expected[:40]]
