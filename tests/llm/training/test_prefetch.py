"""Batches are read ahead: the same ones in the same order, never more than a few, and no thread outlives the training."""

import threading
from collections.abc import Callable
from typing import Self

import pytest
import torch
from torch import Tensor

from infra.store.errors import DamagedError
from llm.events import Event, StepDone, ignore
from llm.training import loop
from llm.training.prefetch import Prefetch
from llm.training.pretrain import PretrainJob, pretrain
from tests.llm.training.test_loop import column

CPU = torch.device("cpu")
MakeJob = Callable[..., PretrainJob]


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


class Inline:
    """What the loop did without a thread."""

    def __init__(self, read: Callable[[int], Tensor], steps: int, device: torch.device) -> None:
        self.take = read

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ended: object) -> None: ...


def test_every_step_gets_its_own_batch_from_whichever_step_on() -> None:
    with Prefetch(lambda step: torch.tensor([step]), 50, CPU) as batches:
        assert [batches.take(step).item() for step in range(7, 50)] == list(range(7, 50))
        with pytest.raises(IndexError, match="50 steps"):
            batches.take(50)


def test_no_more_batches_wait_than_were_asked_for() -> None:
    read: list[int] = []
    came = threading.Semaphore(0)

    def reading(step: int) -> Tensor:
        read.append(step)
        came.release()
        return torch.tensor([step])

    with Prefetch(reading, 1000, CPU, ahead=3) as batches:
        batches.take(0)
        for _ in range(4):
            assert came.acquire(timeout=10)
        assert not came.acquire(timeout=0.1)
        assert read == [0, 1, 2, 3]
        batches.take(1)
        assert came.acquire(timeout=10)
    assert read == [0, 1, 2, 3, 4]


def test_an_error_of_the_reader_arrives_as_itself_at_its_own_step_and_again_when_asked_again() -> None:
    def reading(step: int) -> Tensor:
        if step == 2:
            raise DamagedError("a shard is gone", where="train-00000.bin")
        return torch.tensor([step])

    with Prefetch(reading, 10, CPU) as batches:
        assert [batches.take(step).item() for step in range(2)] == [0, 1]
        for _ in range(2):
            with pytest.raises(DamagedError, match="a shard is gone"):
                batches.take(2)
    assert not readers()


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_no_thread_is_left_however_the_block_ends(taken: int) -> None:
    with pytest.raises(KeyboardInterrupt), Prefetch(lambda step: torch.tensor([step]), 5, CPU) as batches:
        for step in range(taken):
            batches.take(step)
        raise KeyboardInterrupt
    assert not readers()


def test_a_training_that_reads_ahead_is_bit_for_bit_one_that_does_not(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = pretrain(make_job("pretrain-ahead-1"), ignore)
    monkeypatch.setattr(loop, "Prefetch", Inline)
    inline = pretrain(make_job("pretrain-inline-1"), ignore)
    for name in ("loss", "gradient_norm", "tokens", "validation_loss"):
        assert column(ahead, name) == column(inline, name)
    assert not readers()


def test_a_training_says_what_share_of_its_time_it_waited_for_data(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Inline):
        def __init__(self, read: Callable[[int], Tensor], steps: int, device: torch.device) -> None:
            def slowly(step: int) -> Tensor:
                threading.Event().wait(0.2)
                return read(step)

            self.take = slowly

    monkeypatch.setattr(loop, "Prefetch", Slow)
    events: list[Event] = []
    history = pretrain(make_job(steps=5), events.append)
    waits = [event for event in events if isinstance(event, StepDone)]
    assert all(0.2 <= event.waited < event.seconds for event in waits)
    assert column(history, "data_wait_share") == [event.waited / event.seconds for event in waits]
    measured = waits[2:]
    assert history.data_wait_share() == pytest.approx(sum(e.waited for e in measured) / sum(e.seconds for e in measured))


def test_a_skip_list_is_obeyed_by_the_training_itself(make_job: MakeJob) -> None:
    whole = pretrain(make_job("pretrain-whole-1", steps=1), ignore)
    moved = pretrain(make_job("pretrain-moved-1", steps=1, skip_steps=("1-3",)), ignore)
    other = pretrain(make_job("pretrain-other-1", steps=1, skip_steps=("2-3",)), ignore)
    assert column(other, "loss") == column(whole, "loss")
    assert column(moved, "loss") != column(whole, "loss")
