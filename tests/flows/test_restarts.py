"""A restart is told in one line: what was lost, where training went on, how long it took. By sequences of events alone."""

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from flows.attempts import attempts
from flows.restarts import Made, Restarts, restart_line, standing
from flows.tracking import Curve
from infra.store.folder import FolderStore
from infra.tracking.spool import Spool
from llm.events import CheckpointSaved, Event, Restarted, Resumed, RolledBack, Skipped, StepDone

NAME = "runs/pretrain-a-1/checkpoints/step-00000004"


def done(step: int) -> StepDone:
    return StepDone(step, 9, 10.0 - step, 32, 32 * step, 1e-3, 0.5, 0.25)


def steps(first: int, last: int) -> list[Event]:
    return [done(step) for step in range(first, last + 1)]


def hear(events: Iterable[Event], before: Iterable[Made] = ()) -> list[Event]:
    """All that is told of the events; between two looks at the clock a second passes."""
    told: list[Event] = []
    clock = itertools.count(1_000)
    restarts = Restarts(told.append, before, clock=lambda: float(next(clock)))
    for event in events:
        restarts(event)
    restarts.end()
    assert restarts.told == [event for event in told if isinstance(event, Restarted)]
    return told


def test_workers_that_died_are_told_with_the_steps_that_are_made_again() -> None:
    events = [*steps(1, 6), Resumed(4, NAME), *steps(5, 7)]
    restart = Restarted(4, NAME, lost=2, tokens=64, seconds=0.5, pause=1.0)
    assert hear(events) == [*steps(1, 6), Resumed(4, NAME), restart, *steps(5, 7)]
    line = "restarted after step 4: 2 steps lost (64 tokens, 0.5 s of work), at work again 1.0 s after the last step before"
    assert restart_line(restart) == line


def test_each_of_several_restarts_counts_what_it_lost_itself() -> None:
    told = hear([*steps(1, 6), Resumed(4, NAME), *steps(5, 5), Resumed(4, NAME), *steps(5, 8)])
    assert [event.lost for event in told if isinstance(event, Restarted)] == [2, 1]


def test_workers_that_died_before_the_first_checkpoint_begin_anew() -> None:
    told = hear([*steps(1, 3), *steps(1, 2)])
    (restart,) = [event for event in told if isinstance(event, Restarted)]
    assert (restart.step, restart.name, restart.lost) == (0, "", 3)
    assert restart_line(restart).startswith("restarted from the beginning: 3 steps lost (96 tokens")


def test_an_undisturbed_run_and_one_that_goes_back_by_itself_are_no_restarts() -> None:
    for events in (
        [*steps(1, 4), CheckpointSaved(4, NAME), Skipped(5, "spike"), *steps(5, 9)],
        [*steps(1, 6), RolledBack(4, 5, 6, "spike"), *steps(5, 9)],
    ):
        assert hear(events) == events


def test_workers_that_died_right_after_going_back_lost_nothing() -> None:
    told = hear([*steps(1, 6), RolledBack(4, 5, 6, "spike"), Resumed(4, NAME), *steps(5, 9)])
    assert [event.lost for event in told if isinstance(event, Restarted)] == [0]


def test_a_run_that_goes_on_for_a_killed_one_counts_from_the_last_step_of_that() -> None:
    before = [Made(990.0 + step, step, 32, 0.25) for step in range(1, 7)]
    told = hear([Resumed(4, NAME), *steps(5, 9)], before)
    assert told[1] == Restarted(4, NAME, lost=2, tokens=64, seconds=0.5, pause=4.0)


def test_a_run_that_was_killed_after_its_last_step_lost_nothing() -> None:
    before = [Made(990.0 + step, step, 32, 0.25) for step in range(1, 10)]
    (_, restart) = hear([Resumed(9, NAME)], before)
    assert isinstance(restart, Restarted)
    assert restart_line(restart) == "restarted after step 9: nothing lost, at work again 1.0 s after the last step before"


def test_nothing_is_claimed_where_nobody_here_saw_the_steps_before() -> None:
    told = hear([Resumed(4, NAME), *steps(5, 6)])
    assert told[1] == Restarted(4, NAME, None, None, None, None)
    assert restart_line(told[1]) == "restarted after step 4: what was lost is not known here"


@pytest.fixture
def spooled(tmp_path: Path, store: FolderStore) -> Callable[[str, Iterable[Event]], None]:
    def write(run: str, events: Iterable[Event]) -> None:
        spool = Spool(tmp_path / "spool", run)
        spool.open("pretrain")
        tell = Curve(spool, store.url)
        for event in events:
            tell(event)

    return write


def test_what_attempts_did_is_read_from_their_spools_steps_made_twice_too(
    spooled: Callable[[str, Iterable[Event]], None], tmp_path: Path
) -> None:
    again = Restarted(2, NAME, 2, 64, 0.5, 1.0)
    spooled("pretrain-a-1", [*steps(1, 4), again, *steps(3, 5)])
    spooled("pretrain-a-3", [done(6)])
    with (tmp_path / "spool" / "pretrain-a-3.jsonl").open("a") as spool:
        spool.write('{"kind": "metrics", "time": 1.0, "st')  # killed within a line
    first, last = attempts(tmp_path / "spool", ["pretrain-a-1", "pretrain-a-2", "pretrain-a-3"])
    assert [made.step for made in first.made] == [1, 2, 3, 4, 3, 4, 5]
    assert first.restarts == [again]
    assert first.began <= first.made[0].at <= first.ended
    assert [(made.step, made.tokens, made.seconds) for made in standing([*first.made, *last.made])] == [
        (step, 32, 0.25) for step in range(1, 7)
    ]
