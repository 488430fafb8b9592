"""What the driver shows of a run on workers is what the workers told, in their order, whatever dies in between."""

import subprocess
import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar

import pytest

from infra.store.errors import DamagedError, StoreError
from infra.store.faulty import FaultyStore
from infra.store.folder import FolderStore
from llm.events import CheckpointSaved, Event, Noted, Progress, Resumed, Sampled, StepDone, Validated
from llm.training.channel import Receiver, Sender, decode, encode

RUN = "pretrain-a-1"
EVENTS: list[Event] = [
    StepDone(3, 10, 2.5000000000000004, 128, 384, 1e-3, 0.7, 0.01),
    Validated(3, 2.4, "bits_per_byte", 1.9),
    Sampled(3, "The ", "Käse\nand a line 😀"),
    CheckpointSaved(3, "runs/a/checkpoints/step-00000003"),
    Resumed(3, "runs/a/checkpoints/step-00000003"),
    Progress("tokens", 5, 10, "documents"),
    Noted("bf16"),
]


def steps(first: int, last: int) -> list[Event]:
    return [StepDone(step, 100, 1.0, 1, step, 0.1, 1.0, 0.1) for step in range(first, last + 1)]


def left(store: FolderStore) -> list[str]:
    return [entry.name for entry in store.list(f"runs/{RUN}")]


class Seen:
    """An observer that lets a test wait until it was told so many events."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._changed = threading.Condition()

    def __call__(self, event: Event) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.events) >= count, timeout=20), self.events


@pytest.fixture
def receive(store: FolderStore) -> Callable[[Callable[[Event], None]], Receiver]:
    return lambda observe: Receiver(store, RUN, observe, every=0.005)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_arrives_as_it_was_sent(event: Event) -> None:
    assert decode(encode(event)) == event
    assert "\n" not in encode(event)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "7",
        "[]",
        "{}",
        '{"event": "Path"}',
        '{"event": "Noted"}',
        '{"event": "Noted", "message": "a", "b": 1}',
        '{"event": [1]}',
    ],
)
def test_nothing_but_events_is_decoded(line: str) -> None:
    with pytest.raises(DamagedError, match="is no event"):
        decode(line)


def test_all_events_arrive_in_order_and_nothing_is_left_in_the_store(store: FolderStore, receive: Callable[..., Receiver]) -> None:
    seen = Seen()
    with receive(seen), Sender(store, RUN, every=0.01) as send:
        for number, event in enumerate(steps(1, 60), start=1):
            send(event)
            if number % 20 == 0:
                seen.wait_for(number)  # while the run goes on, not only at its end
    assert seen.events == steps(1, 60)
    assert left(store) == []


def test_the_last_events_arrive_although_the_run_ends_with_an_error(store: FolderStore, receive: Callable[..., Receiver]) -> None:
    seen = Seen()
    with pytest.raises(ZeroDivisionError), receive(seen), Sender(store, RUN, every=60) as send:
        for event in steps(1, 5):
            send(event)
        raise ZeroDivisionError
    assert seen.events == steps(1, 5)
    assert left(store) == []


def test_events_are_few_objects_however_fast_the_steps(store: FolderStore) -> None:
    with Sender(store, RUN, every=60) as send:
        for event in steps(1, 1000):
            send(event)
    assert 1 <= len(left(store)) <= 2


def test_a_restarted_worker_is_heard_after_one_that_was_killed(store: FolderStore, receive: Callable[..., Receiver]) -> None:
    seen = Seen()
    with receive(seen):
        killed = Sender(store, RUN, every=0.01).__enter__()
        killed(steps(1, 1)[0])
        seen.wait_for(1)
        killed(steps(2, 2)[0])
        seen.wait_for(2)
        with Sender(store, RUN, every=0.01) as restarted:
            restarted(Resumed(1, "step-00000001"))
            restarted(steps(2, 2)[0])
            seen.wait_for(4)
            killed(Noted("given up, but alive"))
            seen.wait_for(5)
            restarted(steps(3, 3)[0])
        killed.__exit__(None, None, None)
    assert seen.events == [*steps(1, 2), Resumed(1, "step-00000001"), *steps(2, 2), Noted("given up, but alive"), *steps(3, 3)]
    assert left(store) == []


def test_events_of_an_earlier_driver_are_not_told_again(store: FolderStore, receive: Callable[..., Receiver]) -> None:
    with Sender(store, RUN) as send:
        send(Noted("from before"))
    seen = Seen()
    with receive(seen), Sender(store, RUN) as send:
        send(Noted("now"))
    assert seen.events == [Noted("now")]


@pytest.mark.parametrize("write", [1, 2, 3])
def test_no_event_is_lost_when_the_store_is_away_for_a_write(
    store: FolderStore, receive: Callable[..., Receiver], write: int
) -> None:
    seen = Seen()
    with receive(seen), Sender(FaultyStore(store, at=write), RUN, every=0.01) as send:
        for number, event in enumerate(steps(1, 4), start=1):
            send(event)
            seen.wait_for(number)
    assert seen.events == steps(1, 4)


def test_training_goes_on_when_its_events_cannot_be_written(store: FolderStore) -> None:
    class Away(FolderStore):
        def write_if_absent(self, name: str, data: bytes) -> bool:
            raise StoreError("away")

    with Sender(Away(store.root), RUN, every=0.01) as send:
        send(Noted("lost"))
    assert left(store) == []


def test_an_error_of_the_observer_is_not_swallowed(store: FolderStore, receive: Callable[..., Receiver]) -> None:
    def full(event: Event) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), receive(full), Sender(store, RUN) as send:
        send(Noted("a"))


def test_why_the_run_failed_is_told_before_what_the_observer_could_not_do(
    store: FolderStore, receive: Callable[..., Receiver]
) -> None:
    def full(event: Event) -> None:
        raise OSError("disk full")

    with pytest.raises(ZeroDivisionError), receive(full), Sender(store, RUN) as send:
        send(Noted("a"))
        raise ZeroDivisionError


def test_the_channel_loads_nothing_heavy() -> None:
    code = "import sys, llm.training.channel; print([name for name in ('torch', 'ray', 'pyarrow', 'numpy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


def test_an_observer_finds_the_context_of_the_block(store: FolderStore) -> None:
    """A run that was started from a form writes into its own log, which it finds there."""
    where: ContextVar[str] = ContextVar("where", default="nowhere")
    seen: list[str] = []
    where.set("in a run")
    with Receiver(store, RUN, lambda event: seen.append(where.get()), every=0.005), Sender(store, RUN) as send:
        send(EVENTS[0])
    assert seen == ["in a run"]
