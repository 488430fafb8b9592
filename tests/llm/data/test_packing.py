"""No example is cut or lost, and rows are nearly full."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.data.packing import best_fit, pack

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=60)


def padding_share(lengths: Sequence[int], rows: Sequence[Sequence[int]]) -> float:
    """Places of a batch, whose rows are all as wide as the widest, that hold no token of an example."""
    widths = [sum(lengths[number] for number in row) for row in rows]
    return 1 - sum(widths) / (len(widths) * max(widths)) if widths else 0.0


def widths(lengths: list[int], rows: list[list[int]]) -> list[int]:
    return [sum(lengths[number] for number in row) for row in rows]


def by_search(lengths: list[int], capacity: int) -> list[list[int]]:
    """Best-fit decreasing as a textbook has it: looks at every row for the fullest that takes the example."""
    rows: list[list[int]] = []
    for number in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        fitting = [row for row in rows if sum(lengths[each] for each in row) + lengths[number] <= capacity]
        if fitting:
            max(fitting, key=lambda row: sum(lengths[each] for each in row)).append(number)
        else:
            rows.append([number])
    return rows


@given(LENGTHS, st.integers(40, 100))
def test_every_example_is_in_one_row_and_no_row_is_too_long(lengths: list[int], capacity: int) -> None:
    for rows in (best_fit(lengths, capacity), pack(lengths, capacity)):
        assert sorted(number for row in rows for number in row) == list(range(len(lengths)))
        assert max(widths(lengths, rows)) <= capacity
        assert all(row == sorted(row) for row in rows)


@given(LENGTHS, st.integers(40, 100))
def test_as_few_rows_are_used_as_by_looking_at_every_one(lengths: list[int], capacity: int) -> None:
    expected = by_search(lengths, capacity)
    rows = best_fit(lengths, capacity)
    assert sorted(widths(lengths, rows)) == sorted(widths(lengths, expected))
    assert len(pack(lengths, capacity)) <= len(expected) <= 11 / 9 * math.ceil(sum(lengths) / capacity) + 20


@given(LENGTHS)
def test_the_same_lengths_give_the_same_rows(lengths: list[int]) -> None:
    assert pack(lengths, 64) == pack(list(lengths), 64)


def test_rows_are_made_as_narrow_as_they_can_be() -> None:
    lengths = [30, 30, 30, 30, 20, 20]
    assert widths(lengths, best_fit(lengths, 100)) == [90, 70]
    assert widths(lengths, pack(lengths, 100)) == [80, 80]
    assert padding_share(lengths, pack(lengths, 100)) == 0
    assert padding_share(lengths, [[0], [1], [2], [3], [4], [5]]) == pytest.approx(1 - 160 / 180)


def test_an_example_that_is_longer_than_a_row_is_never_cut() -> None:
    with pytest.raises(ValueError, match="41 tokens does not fit into a row of 40"):
        best_fit([3, 41], 40)
