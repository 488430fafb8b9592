"""What the benchmark of orchestration times is still there, and its arithmetic is right."""

import pytest

from benchmarks.orchestration import _over, _parts, _steps_seconds, text
from benchmarks.timed_flow import PARTS, owner_of


@pytest.mark.parametrize("place", PARTS)
def test_a_part_that_is_timed_is_where_it_is_looked_for(place: str) -> None:
    owner, name = owner_of(place)
    assert callable(getattr(owner, name))


def test_each_part_takes_from_the_end_of_the_one_before_it_to_its_own() -> None:
    runs = [{"imports": 2.0, "first step": 5.0, "end": 6.0}, {"imports": 4.0, "first step": 6.0, "end": 9.0}]
    assert _parts(runs) == {"imports": 3.0, "first step": 2.5, "end": 2.0}


def test_overhead_is_what_a_flow_takes_more_before_its_first_step_and_after_its_last() -> None:
    flow, bare = ({"first step": 9.0, "last step": 20.0, "end": 24.0}, {"first step": 4.0, "last step": 15.0, "end": 16.0})
    assert _over([flow], [bare]) == {"to_first_step": [5.0], "after_last_step": [3.0]}
    assert _steps_seconds(flow) == _steps_seconds(bare) == 11.0


def test_a_long_run_is_shown_beside_its_bar() -> None:
    seconds = {"bare": [300.0], "flow": [303.0], "flow_on_ray": [306.0]}
    long = {"steps": 900, "seconds": seconds, "whole_seconds": seconds, "ratio_to_bare": {"flow": [1.01], "flow_on_ray": [1.02]}}
    assert "flow / bare:  1.0100" in text({"long_run": long})
