"""One queue with a bound and one thread that owns the model: the works in progress advance in turn, one token each.

Each work has its own key-value cache and runs with a batch of one: what a request gets does not depend on who else asks.
"""

import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from infra.store.errors import SlipwayError
from llm.serving.sampling import NotFiniteError
from llm.serving.work import Event


class QueueFullError(SlipwayError):
    """As many requests wait as may wait."""

    code = "queue-full"


class DrainingError(SlipwayError):
    """The engine ends what it has begun and takes nothing new."""

    code = "draining"


@dataclass(frozen=True)
class Ended:
    """The work has said all it had to say."""


@dataclass(frozen=True)
class Failed:
    """The work broke off."""

    error: SlipwayError


Delivery = Event | Ended | Failed


@dataclass(eq=False)
class Job:
    """A work that was handed in. `deliver` is called in the engine's thread; `Ended` or `Failed` comes last."""

    work: Iterator[Event]
    deliver: Callable[[Delivery], None]
    cancelled: bool = False


class Engine:
    """slots: how many works advance in turn; queue: how many more may wait for their turn.

    Raises QueueFullError and DrainingError from `submit`. Every method may be called from any thread.
    """

    def __init__(self, *, slots: int = 4, queue: int = 64) -> None:
        self.slots, self.queue = slots, queue
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._changed = threading.Condition()
        self._draining = self._stopped = False
        self._broken: SlipwayError | None = None
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def broken(self) -> SlipwayError | None:
        """Why the model must not be asked any more; None while it works."""
        return self._broken

    @property
    def draining(self) -> bool:
        return self._draining

    def in_progress(self) -> tuple[int, int]:
        """How many works advance, and how many wait."""
        with self._changed:
            return len(self._running), len(self._waiting)

    def submit(self, work: Iterator[Event], deliver: Callable[[Delivery], None]) -> Job:
        job = Job(work, deliver)
        with self._changed:
            if self._draining:
                raise DrainingError("the server is ending and takes no new requests", mend="Ask again: another one answers.")
            if len(self._running) + len(self._waiting) >= self.slots + self.queue:
                raise QueueFullError(
                    f"all {self.slots} places are taken and {self.queue} requests wait already", mend="Ask again in a second."
                )
            self._waiting.append(job)
            self._changed.notify_all()
        return job

    def cancel(self, job: Job) -> None:
        """Nobody waits for this work any more: its place is free after the current step. No harm where it has ended."""
        with self._changed:
            job.cancelled = True
            if job in self._waiting:
                self._waiting.remove(job)
            self._changed.notify_all()

    def drain(self) -> None:
        """Takes nothing new from now on; what was accepted goes on to its end."""
        with self._changed:
            self._draining = True

    def wait_until_idle(self, timeout: float) -> bool:
        """Whether all that was accepted had ended before `timeout` seconds were over."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._running and not self._waiting, timeout)

    def stop(self, patience: float = 5.0) -> int:
        """Breaks off what is still there and ends the thread, after its current step. Returns how many works were broken off."""
        with self._changed:
            self._draining = self._stopped = True
            cut = [job for job in (*self._running, *self._waiting) if not job.cancelled]
            self._waiting.clear()
            self._changed.notify_all()
        for job in cut:
            job.cancelled = True
            job.deliver(Failed(DrainingError("the server ended before this request did", mend="Ask again.")))
        self._thread.join(patience)
        return len(cut)

    def _run(self) -> None:
        while self._admit():
            for job in tuple(self._running):
                self._advance(job)

    def _admit(self) -> bool:
        """Fills the free slots, and waits while there is nothing to do; False when the engine was stopped."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._running or self._waiting)
            while self._waiting and len(self._running) < self.slots:
                self._running.append(self._waiting.popleft())
            self._changed.notify_all()
            return not self._stopped

    def _advance(self, job: Job) -> None:
        if job.cancelled:
            self._leave(job)
            return
        try:
            delivery: Delivery = next(job.work, Ended())
        except SlipwayError as error:
            delivery = Failed(error)
            if isinstance(error, NotFiniteError):
                self._broken = error
        except Exception as error:  # one request's fault must not end the others
            traceback.print_exc(file=sys.stderr)
            delivery = Failed(SlipwayError(f"an error in the server: {type(error).__name__}"))
        if isinstance(delivery, Ended | Failed):
            self._leave(job, delivery)
        elif not job.cancelled:
            job.deliver(delivery)

    def _leave(self, job: Job, last: Ended | Failed | None = None) -> None:
        """Frees the slot, and tells so before the engine can be found idle."""
        job.work = iter(())  # frees the key-value cache now, whoever still holds the job
        if last is not None and not job.cancelled:
            job.deliver(last)
        with self._changed:
            self._running.remove(job)
            self._changed.notify_all()
