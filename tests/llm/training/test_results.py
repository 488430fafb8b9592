"""Results are told once each and in order, and none is left untold when the model is looked at or saved."""

import pytest

from llm.training.results import Results


@pytest.mark.parametrize(("late", "told_after_each"), [(False, [[0], [0, 1], [0, 1, 2]]), (True, [[], [0], [0, 1]])])
def test_a_late_reader_is_one_step_behind_until_all_is_asked_for(late: bool, told_after_each: list[list[int]]) -> None:
    told: list[int] = []
    results = Results(told.append, late=late)
    for step in range(3):
        results.add(step)
        assert told == told_after_each[step]
    results.flush()
    results.flush()
    assert told == [0, 1, 2]


def test_a_step_that_failed_is_not_told_again() -> None:
    def finish(step: int) -> None:
        raise ValueError(step)

    results = Results(finish, late=True)
    results.add(1)
    with pytest.raises(ValueError, match="1"):
        results.flush()
    results.flush()
