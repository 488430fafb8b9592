"""The same function over many items: here, in processes of this machine, or as Ray tasks; the results do not tell which.

A worker holds one item at a time. What fails is tried again alone, also when its process was killed; the others go on.
"""

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from types import ModuleType
from typing import Any, Generic, Protocol, TypeVar, cast

from infra.store.errors import SlipwayError

I = TypeVar("I")  # noqa: E741  # an item
R = TypeVar("R")
Finished = tuple[int, "Outcome[Any] | Exception"]
"""The place of an item, and what became of it; an exception where its worker died."""


class TaskError(SlipwayError):
    """An item failed as often as it was tried, and not for a reason that a user could mend."""

    code = "task"


@dataclass(frozen=True)
class Outcome(Generic[R]):
    """What a call gave: a value, or the error it ended with. `again`: it may be otherwise the next time."""

    value: R | None = None
    error: SlipwayError | None = None
    again: bool = False


class Workers(Protocol):
    """Something that calls a function in another place. `room`: how many items it takes at a time."""

    room: int

    def start(self, place: int, item: Any) -> None: ...

    def finished(self) -> list[Finished]:
        """Waits for at least one of those that were started."""
        ...


def run_tasks(
    function: Callable[[I], R],
    items: Sequence[I],
    *,
    workers: int,
    address: str | None = None,
    retries: int = 1,
    name: Callable[[I], str] = str,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[R]:
    """`function` of each item, in the order of the items whatever finished first.

    workers: 0 or 1 works here, more in as many processes of this machine. address: of a Ray cluster, where each item is a task, at
    most `workers` of them at a time (0: one a CPU). function, items and results are pickled: a function of a module, a store by
    its URL. retries: how often an item is tried again after an error that is not the user's, or after its process died. name: what
    an item is called in an error. progress: told how many are done of how many.

    Raises the SlipwayError that an item ended with, or TaskError with the item's name; what had been started is waited for first,
    so that it is not lost.
    """
    if not items:
        return []
    call = partial(attempt, function)
    with _workers(call, min(workers, len(items)), address, function) as hands:
        return _Run(hands, items, retries, name, progress).results()


def attempt(function: Callable[[I], R], item: I) -> Outcome[R]:
    """Calls the function and catches what it raises: an error has to travel between processes, a traceback cannot."""
    try:
        return Outcome(function(item))
    except SlipwayError as error:
        return Outcome(error=error)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        said = f"{type(error).__name__}: {error}".strip().partition("\n")[0].rstrip(": ")
        return Outcome(error=TaskError(f"failed ({said}, {os.path.basename(place.filename)} line {place.lineno})"), again=True)  # noqa: PTH119


class _Run:
    """One call of `run_tasks`: what waits, what is at work, what is done."""

    def __init__(
        self, hands: Workers, items: Sequence[Any], retries: int, name: Callable[[Any], str], progress: Callable[[int, int], None]
    ) -> None:
        self._hands, self._items, self._retries, self._name, self._progress = hands, items, retries, name, progress
        self._done: dict[int, Any] = {}
        self._tried = [0] * len(items)
        self._error: SlipwayError | None = None

    def results(self) -> list[Any]:
        waiting, running = deque(range(len(self._items))), 0
        while running or (waiting and self._error is None):
            while waiting and running < self._hands.room and self._error is None:
                place = waiting.popleft()
                self._tried[place] += 1
                self._hands.start(place, self._items[place])
                running += 1
            for place, outcome in self._hands.finished():
                running -= 1
                if self._take(place, outcome):
                    waiting.append(place)
        if self._error is not None:
            raise self._error
        return [self._done[place] for place in range(len(self._items))]

    def _take(self, place: int, outcome: Outcome[Any] | Exception) -> bool:
        """Whether the item has to be tried again."""
        if isinstance(outcome, Exception):
            outcome = Outcome(error=TaskError(str(outcome)), again=True)
        if outcome.error is None:
            self._done[place] = outcome.value
            self._progress(len(self._done), len(self._items))
            return False
        if outcome.again and self._tried[place] <= self._retries:
            return True
        self._error = self._error or self._named(outcome.error, place)
        return False

    def _named(self, error: SlipwayError, place: int) -> SlipwayError:
        if not isinstance(error, TaskError):
            return error
        tries = f" {self._tried[place]} times" if self._tried[place] > 1 else ""
        what = error.what.replace("failed", f"failed{tries}", 1)
        return TaskError(what, where=self._name(self._items[place]), mend="Run again: what is finished is kept.")


def _workers(call: Callable[[Any], Any], workers: int, address: str | None, function: object) -> AbstractContextManager[Workers]:
    if address:
        from infra.cluster_tasks import ray_workers  # Ray, two seconds, which only a cluster is worth

        return ray_workers(call, workers, address)
    return _processes(call, workers, _module(function)) if workers > 1 else nullcontext(_Here(call))


def _module(function: object) -> str:
    while isinstance(function, partial):
        function = function.func
    return str(getattr(function, "__module__", ""))


class _Here:
    room = 1

    def __init__(self, call: Callable[[Any], Any]) -> None:
        self._call = call
        self._held: list[Finished] = []

    def start(self, place: int, item: Any) -> None:
        self._held.append((place, self._call(item)))

    def finished(self) -> list[Finished]:
        held, self._held = self._held, []
        return held


@contextmanager
def _processes(call: Callable[[Any], Any], workers: int, module: str) -> Iterator[Workers]:
    pool = _Processes(call, workers, module)
    try:
        yield pool
    finally:
        pool.close()


class _Processes:
    """Processes that are forked from a clean one, which has imported the function's module once for all of them."""

    def __init__(self, call: Callable[[Any], Any], workers: int, module: str) -> None:
        self.room, self._call = workers, call
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([module])
        self._ours, self._theirs = self._context.Pipe()  # nothing is ever sent: its end tells the processes of ours
        self._idle: list[_Process] = []
        self._busy: dict[Connection, tuple[int, _Process]] = {}

    def start(self, place: int, item: Any) -> None:
        process = self._idle.pop() if self._idle else _Process(self._context, self._call, self._theirs)
        self._busy[process.pipe] = place, process
        with suppress(OSError):  # it died while it was idle: `finished` sees that
            process.pipe.send(item)

    def finished(self) -> list[Finished]:
        found: list[Finished] = []
        for pipe in wait(list(self._busy)):
            place, process = self._busy.pop(cast(Connection, pipe))
            try:
                found.append((place, process.pipe.recv()))
                self._idle.append(process)
            except (EOFError, OSError):
                found.append((place, RuntimeError(f"failed: its process {process.ended()}")))
        return found

    def close(self) -> None:
        for process in [*self._idle, *(process for _, process in self._busy.values())]:
            process.end()
        self._ours.close()
        self._theirs.close()


class _Process:
    def __init__(self, context: Any, call: Callable[[Any], Any], alive: Connection) -> None:
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(call, theirs, alive, dict(os.environ)), daemon=True)
        with _main_set_aside():
            self._process.start()
        theirs.close()

    def ended(self) -> str:
        self._process.join(timeout=5)
        code = self._process.exitcode
        return f"was killed (signal {-code})" if code is not None and code < 0 else f"ended (exit {code})"

    def end(self) -> None:
        self.pipe.close()
        self._process.terminate()
        self._process.join()


@contextmanager
def _main_set_aside() -> Iterator[None]:
    """Else a new process runs the main module again: seconds, and without end where a script does not guard against that."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _serve(call: Callable[[Any], Any], pipe: Connection, alive: Connection, environment: dict[str, str]) -> None:
    os.environ |= environment  # the clean process has kept that of its own start
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C reaches the whole group: the first process says what ends
    threading.Thread(target=_end_with, args=(alive,), daemon=True).start()
    with suppress(EOFError, OSError):
        while True:
            pipe.send(call(pipe.recv()))


def _end_with(alive: Connection) -> None:
    """Ends this process when the one that started it is gone, kill -9 included: nobody would have its result."""
    with suppress(EOFError, OSError):
        alive.recv()
    os._exit(1)
