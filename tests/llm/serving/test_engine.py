"""The engine is fair, bounded, lets go of what nobody waits for, and survives a work that fails."""

import threading
from collections.abc import Iterator
from queue import SimpleQueue

import pytest

from infra.store.errors import SlipwayError
from llm.serving.engine import Delivery, DrainingError, Ended, Engine, Failed, QueueFullError
from llm.serving.sampling import NotFiniteError
from llm.serving.work import Event, Text

PATIENCE = 20.0


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine(slots=2, queue=2)
    yield made
    made.stop()


class Steps:
    """A work of `count` texts, each of which waits until the test lets it pass; `log` is what was done, by whom, in order."""

    def __init__(self, name: str, count: int, log: list[str], gate: threading.Semaphore | None = None) -> None:
        self.name, self.count, self.log, self.gate = name, count, log, gate
        self.begun, self.closed = threading.Event(), threading.Event()

    def __call__(self) -> Iterator[Event]:
        try:
            for _ in range(self.count):
                self.begun.set()
                if self.gate:
                    assert self.gate.acquire(timeout=PATIENCE)
                self.log.append(self.name)
                yield Text(self.name)
        finally:
            self.closed.set()


def _until_end(deliveries: "SimpleQueue[Delivery]") -> list[Delivery]:
    got: list[Delivery] = []
    while not got or not isinstance(got[-1], Ended | Failed):
        got.append(deliveries.get(timeout=PATIENCE))
    return got


def test_works_in_progress_advance_in_turn_and_a_new_one_starts_when_a_slot_is_free(engine: Engine) -> None:
    log: list[str] = []
    gate = threading.Semaphore(0)
    queues: list[SimpleQueue[Delivery]] = [SimpleQueue() for _ in range(4)]
    first = Steps("a", 3, log, gate)
    engine.submit(first(), queues[0].put)
    assert first.begun.wait(PATIENCE)  # from here on the engine waits in the first step: the others come meanwhile
    for name, count, queue in (("b", 5, queues[1]), ("c", 2, queues[2]), ("d", 1, queues[3])):
        engine.submit(Steps(name, count, log)(), queue.put)
    assert engine.in_progress() == (1, 3)
    gate.release(3)
    for queue in queues:
        assert isinstance(_until_end(queue)[-1], Ended)
    # a alone; a and b in turn; b while a ends; b and c in turn; d when both have ended.
    assert "".join(log) == "a" + "ab" + "ab" + "b" + "bc" + "bc" + "d"


def test_more_than_may_wait_is_refused_and_nothing_else_suffers(engine: Engine) -> None:
    log: list[str] = []
    gate = threading.Semaphore(0)
    queues: list[SimpleQueue[Delivery]] = [SimpleQueue() for _ in range(4)]
    for queue in queues:
        engine.submit(Steps("x", 2, log, gate)(), queue.put)
    with pytest.raises(QueueFullError, match="all 2 places are taken and 2 requests wait"):
        engine.submit(Steps("y", 1, log)(), queues[0].put)
    gate.release(8)
    assert [len(_until_end(queue)) for queue in queues] == [3, 3, 3, 3]
    assert "y" not in log


def test_a_cancelled_work_frees_its_slot_for_the_next_one_and_its_memory(engine: Engine) -> None:
    log: list[str] = []
    gate, works = threading.Semaphore(0), []
    jobs = []
    for _ in range(2):
        works.append(Steps("left", 100, log, gate))
        jobs.append(engine.submit(works[-1](), lambda _: None))
    assert works[0].begun.wait(PATIENCE)
    waiting: SimpleQueue[Delivery] = SimpleQueue()
    engine.submit(Steps("next", 1, log)(), waiting.put)
    for job in jobs:
        engine.cancel(job)
    gate.release(2)  # at most the steps that had begun
    assert isinstance(_until_end(waiting)[-1], Ended)
    assert all(work.closed.wait(PATIENCE) for work in works if work.begun.is_set())
    assert log.count("left") <= 2


def test_a_work_cancelled_while_it_waits_never_begins_and_leaves_its_place_at_once(engine: Engine) -> None:
    log: list[str] = []
    gate = threading.Semaphore(0)
    jobs = [engine.submit(Steps(str(number), 1, log, gate)(), lambda _: None) for number in range(4)]
    engine.cancel(jobs[3])
    engine.cancel(jobs[3])  # twice is no harm
    last: SimpleQueue[Delivery] = SimpleQueue()
    engine.submit(Steps("last", 1, log)(), last.put)  # would be refused if the place were still taken
    gate.release(3)
    assert isinstance(_until_end(last)[-1], Ended)
    assert engine.wait_until_idle(PATIENCE)
    assert sorted(log) == ["0", "1", "2", "last"]


def test_a_drain_ends_what_was_accepted_and_takes_nothing_new(engine: Engine) -> None:
    log: list[str] = []
    gate = threading.Semaphore(0)
    queues: list[SimpleQueue[Delivery]] = [SimpleQueue() for _ in range(4)]
    for queue in queues:
        engine.submit(Steps("x", 2, log, gate)(), queue.put)
    engine.drain()
    with pytest.raises(DrainingError):
        engine.submit(Steps("y", 1, log)(), queues[0].put)
    assert not engine.wait_until_idle(0)
    gate.release(8)
    assert engine.wait_until_idle(PATIENCE)
    assert [queue.qsize() for queue in queues] == [3, 3, 3, 3]  # delivered before the engine is found idle


def test_a_stop_tells_everybody_who_still_waits(engine: Engine) -> None:
    log: list[str] = []
    gate = threading.Semaphore(0)
    queues: list[SimpleQueue[Delivery]] = [SimpleQueue() for _ in range(3)]
    works = [Steps("x", 2, log, gate) for _ in queues]
    for work, queue in zip(works, queues, strict=True):
        engine.submit(work(), queue.put)
    assert works[0].begun.wait(PATIENCE)
    assert engine.stop(patience=0) == 3
    gate.release(6)
    for queue in queues:
        assert isinstance(failed := _until_end(queue)[-1], Failed)
        assert isinstance(failed.error, DrainingError)


def test_a_work_that_fails_ends_alone(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    def breaks(error: Exception) -> Iterator[Event]:
        yield Text("so far")
        raise error

    log: list[str] = []
    for error in (SlipwayError("a reason"), RuntimeError("secret detail")):
        broken: SimpleQueue[Delivery] = SimpleQueue()
        sound: SimpleQueue[Delivery] = SimpleQueue()
        engine.submit(breaks(error), broken.put)
        engine.submit(Steps("x", 3, log)(), sound.put)
        text, failed = _until_end(broken)
        assert text == Text("so far")
        assert isinstance(failed, Failed)
        assert "secret" not in str(failed.error)
        assert _until_end(sound) == [Text("x")] * 3 + [Ended()]
    assert engine.broken is None
    assert "secret detail" in capsys.readouterr().err  # in the log, for whoever mends it


def test_a_model_that_gives_no_numbers_is_remembered_as_broken(engine: Engine) -> None:
    def breaks() -> Iterator[Event]:
        raise NotFiniteError("the model's output is not finite")
        yield

    queue: SimpleQueue[Delivery] = SimpleQueue()
    engine.submit(breaks(), queue.put)
    assert isinstance(_until_end(queue)[-1], Failed)
    assert isinstance(engine.broken, NotFiniteError)
