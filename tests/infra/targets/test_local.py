"""A version gets onto a target, and off it again, without one request lost."""

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from infra.ledger import Ledger
from infra.settings import Settings
from infra.store.errors import DamagedError, InputError, LeaseHeldError, RefusedError
from infra.store.folder import FolderStore
from infra.store.lease import lease
from infra.store.liveness import is_alive
from infra.targets import fleet
from infra.targets.errors import GoldenError, RolloutError, TargetError
from infra.targets.fleet import state
from infra.targets.local import Target
from infra.targets.record import Release
from tests.infra.targets.conftest import load, stand_in

Make = Callable[..., Release]


def deployed(target: Target, release: Release) -> int:
    """Deploys and returns the target's port."""
    target.deploy(release, who="tester", why="a test")
    return target.record().port


def test_the_first_version_answers_on_a_port_that_stays_and_is_in_the_ledger(target: Target, release: Make) -> None:
    first, second = release(1), release(2)
    rolled = target.deploy(first, who="tester", why="the first")
    assert (rolled.changed, rolled.previous, rolled.action) == (True, None, "deploy")
    assert target.serves() == first.package
    assert target.deploy(second, who="tester", why="the second").url == rolled.url
    assert target.serves() == second.package
    entries = Ledger.of(target.settings).entries()
    assert [(entry.action, entry.who, entry.why, dict(entry.subject)) for entry in entries] == [
        ("deploy", "tester", why, {"target": "local", "model": each.model, "package": each.package})
        for why, each in (("the first", first), ("the second", second))
    ]
    shown = state(target)
    assert (shown.state, shown.model, shown.serves, shown.previous) == ("serving", second.model, second.package, first.model)
    assert shown.memory is not None
    assert [len(target.processes.running(part)) for part in ("blue", "green", "haproxy")] == [0, 1, 1]


def test_no_request_is_lost_while_versions_come_and_go(target: Target, release: Make) -> None:
    first, second = release(1), release(2)
    with load(deployed(target, first)) as seen:
        deployed(target, second)
        time.sleep(0.3)
        target.rollback(who="tester", why="a drill")
        target.deploy(second, who="tester", why="on purpose", again=True)
    assert seen.failures == []
    assert set(seen.answers) == {"answer 1", "answer 2"}
    assert seen.longest < 2


def test_a_stream_in_flight_ends_on_the_server_where_it_began(target: Target, release: Make) -> None:
    with load(deployed(target, release(1)), clients=2, pieces=150) as seen:
        rolled = target.deploy(release(2), who="tester", why="a test")
    assert seen.failures == []
    assert seen.answers["answer 1"] >= 2
    assert rolled.seconds["drain"] > 0.3
    assert rolled.cut == 0


@pytest.mark.parametrize(
    ("behaviour", "error", "exit_code", "what"),
    [
        ({"dies": True}, RolloutError, 1, "ended before it answered: the weights are no weights"),
        ({"claims": "another"}, RolloutError, 1, "has loaded package another"),
        ({"golden": ({"kind": "completion", "prompt": "The", "max_tokens": 4, "text": "else"},)}, GoldenError, 3, "'answer 2'"),
        ({"golden": ({"kind": "chat", "messages": [], "max_tokens": 4, "text": "else"},)}, GoldenError, 3, "'answer 2'"),
        ({"golden": ({"kind": "classification", "input": "x", "label": "good", "probability": 0.7502},)}, GoldenError, 3, "0.75"),
        ({"golden": ({"kind": "classification", "input": "x", "label": "bad", "probability": 0.75},)}, GoldenError, 3, "bad"),
    ],
)
def test_a_version_that_fails_leaves_the_old_one_serving_and_is_on_record(
    target: Target, release: Make, behaviour: dict[str, object], error: type[TargetError], exit_code: int, what: str
) -> None:
    good, bad = release(1), release(2, **behaviour)
    with load(deployed(target, good)) as seen, pytest.raises(error) as caught:
        target.deploy(bad, who="tester", why="a test")
    assert seen.failures == []
    assert set(seen.answers) == {"answer 1"}
    assert caught.value.exit_code == exit_code
    assert what in caught.value.what
    assert target.serves() == good.package
    assert [entry.subject["model"] for entry in Ledger.of(target.settings).entries()] == [good.model]
    shown = state(target)
    assert (shown.state, shown.model, shown.unfinished) == ("serving", good.model, "")
    assert shown.last is not None
    assert (shown.last["event"], shown.last["model"]) == ("failed", bad.model)
    assert what in shown.last["what"]
    assert len(target.processes.running("green")) == 0


def test_a_version_that_never_gets_well_is_given_up_after_its_time(target: Target, release: Make) -> None:
    port = deployed(target, release(1))
    target.limits = replace(target.limits, start_seconds=0.5)
    with load(port) as seen, pytest.raises(RolloutError, match="does not answer in time"):
        target.deploy(release(2, sick=True), who="tester", why="a test")
    assert seen.failures == []


def test_golden_answers_of_all_kinds_pass_within_their_tolerance(target: Target, release: Make) -> None:
    golden = (
        {"kind": "completion", "prompt": "The", "max_tokens": 4, "text": "yes"},
        {"kind": "chat", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4, "text": "yes"},
        {"kind": "classification", "input": "x", "label": "good", "probability": 0.75005},
    )
    deployed(target, made := release(1, golden=golden, answer="yes"))
    assert target.serves() == made.package


def test_a_damaged_package_is_named_and_nothing_is_started(target: Target, release: Make) -> None:
    good, bad = release(1), release(2)
    deployed(target, good)
    (Path(bad.folder) / "behaviour.json").write_text("{}")
    with pytest.raises(DamagedError, match=r"behaviour\.json"):
        target.deploy(bad, who="tester", why="a test")
    assert target.serves() == good.package
    assert len(target.processes.running("green")) == 0
    with pytest.raises(DamagedError, match="not there any more"):
        target.deploy(replace(good, model="models:/ship/9", folder=f"{good.folder}-gone"), who="tester", why="a test")


def test_a_rollback_goes_back_step_by_step_and_says_when_there_is_no_step_left(target: Target, release: Make) -> None:
    versions = [release(number) for number in (1, 2, 3)]
    with pytest.raises(InputError, match="nothing was deployed here yet"):
        target.rollback(who="tester", why="a test")
    for version in versions:
        deployed(target, version)
    assert target.rollback(who="tester", why="worse").release == versions[1]
    assert target.rollback(who="tester", why="worse still").release == versions[0]
    assert target.serves() == versions[0].package
    with pytest.raises(InputError, match="models:/ship/1 is the first version here"):
        target.rollback(who="tester", why="a test")
    assert [entry.action for entry in Ledger.of(target.settings).entries()] == ["deploy"] * 3 + ["rollback"] * 2


def test_what_a_rollback_took_away_comes_back_only_on_purpose(target: Target, release: Make) -> None:
    first, second = release(1), release(2)
    deployed(target, first)
    deployed(target, second)
    target.rollback(who="tester", why="worse")
    with pytest.raises(RefusedError, match="taken off local by a rollback"):
        target.deploy(second, who="tester", why="a test")
    target.deploy(second, who="tester", why="a test", again=True)
    assert target.serves() == second.package


def test_the_same_version_again_is_left_alone_while_it_serves(target: Target, release: Make) -> None:
    first = release(1)
    deployed(target, first)
    before = target.record()
    assert not target.deploy(first, who="tester", why="again").changed
    assert target.record() == before
    assert len(Ledger.of(target.settings).entries()) == 1


@pytest.mark.parametrize("part", ["server", "proxy"])
def test_a_dead_part_is_called_dead_and_deploying_the_same_version_mends_it(target: Target, release: Make, part: str) -> None:
    first = release(1)
    port = deployed(target, first)
    known = target.record()
    assert known.server is not None
    process = known.proxy if part == "proxy" else known.server.process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    while is_alive(process):
        time.sleep(0.01)
    shown = state(target)
    assert (shown.state, shown.serves) == ("dead", None)
    target.deploy(first, who="tester", why="again")
    assert (target.serves(), target.record().port) == (first.package, port)
    assert state(target).state == "serving"
    assert len(Ledger.of(target.settings).entries()) == 1, "bringing back is no decision"


def test_stopped_it_stays_on_record_and_comes_back_on_its_port(
    target: Target, release: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "Target", lambda settings, name: target)
    first, second = release(1), release(2)
    port = deployed(target, first)
    deployed(target, second)
    assert fleet.stop_all(target.settings) == ["local"]
    shown = state(target)
    assert (shown.state, shown.model, shown.serves) == ("stopped", second.model, None)
    assert fleet.stop_all(target.settings) == []
    assert fleet.restore_all(target.settings) == {"local": None}
    assert (target.serves(), target.record().port) == (second.package, port)
    assert fleet.restore_all(target.settings) == {}
    assert target.rollback(who="tester", why="after all that").release == first


def test_a_port_that_somebody_else_has_is_not_taken(target: Target, release: Make) -> None:
    port = deployed(target, release(1))
    target.stop()
    with socket.create_server(("127.0.0.1", port)), pytest.raises(TargetError, match=f"port {port} .* taken"):
        target.restore()
    assert target.restore() is not None
    other = Target(target.settings, "local-two", limits=target.limits, command=stand_in)
    with socket.create_server(("127.0.0.1", port + 1)):
        assert deployed(other, release(2)) > port + 1
    assert [each.name for each in fleet.states(target.settings)] == ["local", "local-two"]
    other.stop()


def test_two_changes_of_one_target_at_once_are_not_made(target: Target, release: Make) -> None:
    deployed(target, release(1))
    with lease(FolderStore(target.folder), "target-local"), pytest.raises(LeaseHeldError) as caught:
        target.rollback(who="tester", why="a test")
    assert caught.value.exit_code == 5


def test_a_home_with_a_path_longer_than_a_socket_s_can_be(settings: Settings, release: Make, tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 80) / ("y" * 80)
    target = Target(settings.model_copy(update={"home": deep}), command=stand_in)
    made = release(1)
    deployed(target, made)
    assert target.serves() == made.package
    target.stop()


def test_a_target_s_name_is_local_or_begins_so(settings: Settings) -> None:
    with pytest.raises(InputError, match="no such target"):
        Target(settings, "prod")
    assert fleet.states(settings) == []
    assert not settings.home.exists(), "asking leaves nothing behind"


def test_the_log_of_a_target_says_what_was_tried(target: Target, release: Make) -> None:
    deployed(target, release(1))
    with pytest.raises(RolloutError):
        target.deploy(release(2, dies=True), who="tester", why="a test")
    lines = [json.loads(line) for line in (target.folder / "rollouts.jsonl").read_text().splitlines()]
    assert [(line["event"], line["model"]) for line in lines] == [("deploy", "models:/ship/1"), ("failed", "models:/ship/2")]
