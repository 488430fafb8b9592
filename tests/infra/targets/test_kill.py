"""The command that changes a target, killed before and after each thing it does to the world: the target goes on, and heals."""

import os
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest

from infra.ledger import Ledger
from infra.targets import processes, record
from infra.targets.fleet import state
from infra.targets.haproxy import Runtime
from infra.targets.local import Target
from infra.targets.record import Release

Make = Callable[..., Release]
_EFFECTS = (
    (record, "write"),
    (processes, "spawn_service"),
    (processes, "stop"),
    (Runtime, "tell"),
    (Ledger, "append"),
)


class Killer:
    """Kills the process it is in before (even) or after (odd) the `at`-th effect; counts them all the same."""

    def __init__(self, at: int) -> None:
        self.at, self.passed = at, 0

    def point(self) -> None:
        if self.passed == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.passed += 1

    def around(self, effect: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **options: Any) -> Any:
            self.point()
            result = effect(*arguments, **options)
            self.point()
            return result

        return watched


def in_a_child(work: Callable[[], object], at: int, effects: Sequence[tuple[Any, str]] = _EFFECTS) -> int:
    """Runs work in a process of its own, killed at a point; returns its wait status."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            killer = Killer(at)
            for owner, name in effects:
                setattr(owner, name, killer.around(getattr(owner, name)))
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


def counted(work: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> int:
    """How many points there are on the way."""
    killer = Killer(-1)
    with monkeypatch.context() as patch:
        for owner, name in _EFFECTS:
            patch.setattr(owner, name, killer.around(getattr(owner, name)))
        work()
    return killer.passed


def asked(port: int) -> str:
    body = {"model": "ship", "prompt": "The", "max_tokens": 1}
    answer = httpx.post(f"http://127.0.0.1:{port}/v1/completions", json=body, timeout=10, trust_env=False)
    answer.raise_for_status()
    text: str = answer.json()["choices"][0]["text"]
    return text


def whole(target: Target) -> dict[str, int]:
    return {part: len(target.processes.running(part)) for part in ("blue", "green", "haproxy")}


@pytest.mark.slow
@pytest.mark.parametrize("action", ["deploy", "rollback"])
def test_killed_at_any_point_a_change_loses_nothing_and_the_next_command_ends_it(
    target: Target, release: Make, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """With versions 1 and 2 deployed: `deploy` brings 3, `rollback` brings 1 back. Each point is killed at, then healed."""
    first, second, third = release(1), release(2), release(3)

    def change() -> object:
        if action == "deploy":
            return target.deploy(third, who="tester", why="a change")
        return target.rollback(who="tester", why="a change")

    def prepare() -> None:
        target.stop()
        (target.folder / "target.json").unlink(missing_ok=True)
        for each in (first, second):
            target.deploy(each, who="tester", why="before")

    prepare()
    points = counted(change, monkeypatch)
    assert points > 20
    new = third if action == "deploy" else first
    ends: Counter[str] = Counter()
    for point in range(points):
        prepare()
        entries = len(Ledger.of(target.settings).entries())
        assert in_a_child(change, point) == signal.SIGKILL, f"point {point} of {points} was not reached"
        port = target.record().port
        assert asked(port) in {"answer 2", f"answer {new.model[-1]}"}, f"nobody answers after a kill at point {point}"
        shown = state(target)
        assert shown.state == "serving", (point, shown)
        assert shown.serves in {second.package, new.package}
        ends["unfinished" if shown.unfinished else "as before or done"] += 1
        # What anybody would do next: deploy what is wanted. It heals first.
        target.deploy(new, who="tester", why="once more", again=True)
        assert asked(port) == f"answer {new.model[-1]}"
        assert sum(whole(target).values()) == 2, (point, whole(target))
        assert target.record().rollout is None
        slots = target.runtime.slots()
        assert sorted(slot.state for slot in slots.values()) == ["maint", "ready"], (point, slots)
        written = [entry.action for entry in Ledger.of(target.settings).entries()][entries:]
        assert written in ([action], ["deploy"]), f"the ledger after a kill at point {point}: {written}"
    assert ends["unfinished"] > 10


def test_a_killed_first_deployment_leaves_no_server_behind(target: Target, release: Make) -> None:
    made = release(1)
    starts = 7  # the server is started, and not yet written down
    assert in_a_child(lambda: target.deploy(made, who="tester", why="a test"), starts) == signal.SIGKILL
    assert state(target).state == "empty"
    target.deploy(made, who="tester", why="once more")
    assert target.serves() == made.package
    assert sum(whole(target).values()) == 2
    assert len(Ledger.of(target.settings).entries()) == 1


def test_status_names_a_change_that_was_killed_after_the_switch_and_the_next_command_puts_it_on_record(
    target: Target, release: Make
) -> None:
    first, second = release(1), release(2)
    target.deploy(first, who="tester", why="before")
    killed = in_a_child(lambda: target.deploy(second, who="killed", why="a change"), 0, effects=((Ledger, "append"),))
    assert killed == signal.SIGKILL
    shown = state(target)
    assert (shown.serves, shown.unfinished) == (second.package, "deploy of models:/ship/2 (switched)")
    assert target.rollback(who="tester", why="back").release == first
    last = [(entry.action, entry.who) for entry in Ledger.of(target.settings).entries()][-2:]
    assert last == [("deploy", "killed"), ("rollback", "tester")]
