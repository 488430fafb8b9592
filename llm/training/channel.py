"""Events on their way from a worker to the driver, as small objects in the store: its URL is all that the two share.

A worker that is killed takes the last second of its events with it. The one that goes on in its place trains again from the
last checkpoint: an observer may see a step twice, or find it only in the history of the checkpoint that `Resumed` names.
"""

import json
import threading
from contextlib import suppress
from contextvars import copy_context
from dataclasses import asdict
from types import TracebackType
from typing import Final, Self, get_args

from infra.store.errors import DamagedError, StoreError
from infra.store.protocol import Store
from llm.events import Event, Observer

_CLASSES: Final = {cls.__name__: cls for cls in get_args(Event)}


class Sender:
    """An observer that writes what it is told to `runs/<id>/events/<n>.jsonl`, once in `every` seconds at most and at the end.

    It does so in a thread of its own, so that training does not wait for the store; while the store is away it holds events back.
    """

    def __init__(self, store: Store, run: str, *, every: float = 1.0) -> None:
        self._store, self._run, self._every = store, run, every
        self._held: list[Event] = []
        self._lock = threading.Lock()
        self._told, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"events of {run}", daemon=True)
        self._next = 1 + max(_numbers(store, run), default=-1)  # after those of a worker that was killed

    def __call__(self, event: Event) -> None:
        with self._lock:
            self._held.append(event)
        self._told.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._told.set()
        self._thread.join()
        with suppress(
            StoreError
        ):  # what the events tell stands in the checkpoint too: no reason to fail, or to hide why the block did
            self._write()

    def _keep(self) -> None:
        while not self._ended.is_set():
            self._told.wait()
            self._told.clear()
            try:
                self._write()
            except StoreError:
                self._told.set()  # they are held still: once more after the pause
            self._ended.wait(self._every)

    def _write(self) -> None:
        with self._lock:
            events = list(self._held)
        if not events:
            return
        data = "".join(f"{encode(event)}\n" for event in events).encode()
        while not self._store.write_if_absent(_name(self._run, self._next), data):
            self._next += 1  # a worker that was given up lives on and writes too
        self._next += 1
        with self._lock:
            del self._held[: len(events)]


class Receiver:
    """Tells `observe` for the length of its block what the run's workers send, in order, in a thread of its own.

    Empties the channel before and after. An error of `observe` ends the telling; `check` and the end of the block raise it.
    """

    def __init__(self, store: Store, run: str, observe: Observer, *, every: float = 0.5) -> None:
        self._store, self._run, self._observe, self._every = store, run, observe, every
        self._next = 0
        self._error: Exception | None = None
        self._ended = threading.Event()
        # In the context of the block: an observer may write into the log of the run that it finds there.
        self._thread = threading.Thread(target=copy_context().run, args=(self._keep,), name=f"observer of {run}", daemon=True)

    def __enter__(self) -> Self:
        self._clear()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()  # it reads once more after the last event was sent
        with suppress(StoreError):
            self._clear()
        if error is None:
            self.check()

    def check(self) -> None:
        """Raises what `observe` raised: who waits for the workers is not to wait to their end."""
        if self._error is not None:
            raise self._error

    def _keep(self) -> None:
        try:
            while not self._ended.wait(self._every):
                self._tell()
            self._tell()
        except Exception as error:  # raised in the thread of the block, where somebody sees it
            self._error = error

    def _tell(self) -> None:
        while (lines := self._read()) is not None:
            for line in lines:
                self._observe(decode(line))
            self._next += 1
            if self._next > 1:
                with suppress(StoreError):  # the newest object stays: it tells a restarted worker where to go on
                    self._store.delete(_name(self._run, self._next - 2))

    def _read(self) -> list[str] | None:
        try:
            return self._store.read(_name(self._run, self._next)).decode().splitlines()
        except StoreError:  # not there yet, or the store is away for a moment
            return None

    def _clear(self) -> None:
        for number in _numbers(self._store, self._run):
            self._store.delete(_name(self._run, number))


def encode(event: Event) -> str:
    """One line of JSON: the class's name and its fields."""
    return json.dumps({"event": type(event).__name__, **asdict(event)})


def decode(line: str) -> Event:
    """What `encode` wrote. Raises DamagedError for anything that is no event of `llm.events`."""
    try:
        fields = json.loads(line)
        event: Event = _CLASSES[fields.pop("event")](**fields)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DamagedError(
            f"{line[:80]!r} is no event", where="events", mend="Run the same version of Slipway here and on the workers."
        ) from None
    return event


def _name(run: str, number: int) -> str:
    return f"runs/{run}/events/{number:08d}.jsonl"


def _numbers(store: Store, run: str) -> list[int]:
    """Of the objects that are there, in order."""
    return [int(entry.name.rpartition("/")[2].removesuffix(".jsonl")) for entry in store.list(f"runs/{run}/events")]
