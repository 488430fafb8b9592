"""Functions called on the machines of a Ray cluster."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from infra.cluster import ClusterError, joined, reason_of
from infra.store.errors import SlipwayError

T = TypeVar("T")


def on_a_worker(call: Callable[[], T], address: str) -> T:
    """What `call` gives on a machine of the cluster at `address`: one with a GPU, and a little of it, if any machine has one.

    call: as in `ray_workers`. Raises the SlipwayError that it raises, ClusterError where it could not be called.
    """

    def task() -> T:
        return call()

    with joined(address):
        gpus = ray.cluster_resources().get("GPU", 0)  # type: ignore[no-untyped-call]
        share = {"num_cpus": 0, "num_gpus": 0.01} if gpus else {"num_cpus": 1}
        try:
            answer: T = ray.get(ray.remote(**share)(task).remote())
        except RayError as error:
            if isinstance(error, RayTaskError) and isinstance(error.cause, SlipwayError):
                raise error.cause from None
            raise ClusterError(f"a worker could not be asked ({reason_of(error)})", where=f"RAY_ADDRESS={address}") from error
        return answer


class RayWorkers:
    """Calls a function as Ray tasks, `room` of them at a time; a task whose worker or node died is for the caller to try again."""

    def __init__(self, call: Callable[[Any], Any], room: int) -> None:
        def task(item: Any) -> Any:  # Ray takes no partial function
            return call(item)

        self.room = room
        self._task = ray.remote(num_cpus=1, max_retries=0)(task)
        self._running: dict[Any, int] = {}

    def start(self, place: int, item: Any) -> None:
        self._running[self._task.remote(item)] = place

    def finished(self) -> list[tuple[int, Any]]:
        """(place, what the call gave or the error that Ray met), of at least one that was started."""
        ready, _ = ray.wait(list(self._running), num_returns=1)
        found: list[tuple[int, Any]] = []
        for reference in ready:
            place = self._running.pop(reference)
            try:
                found.append((place, ray.get(reference)))
            except RayError as error:
                found.append((place, ClusterError(f"failed: its Ray worker ended ({reason_of(error)})")))
        return found


@contextmanager
def ray_workers(call: Callable[[Any], Any], workers: int, address: str) -> Iterator[RayWorkers]:
    """`workers` tasks at a time (0: one a CPU) on the cluster at `address`; a connection that is there already is used.

    call: a function of a module that the cluster's machines have too, or a partial one.
    """
    with nullcontext() if ray.is_initialized() else joined(address):
        cpus = ray.cluster_resources().get("CPU", 1)  # type: ignore[no-untyped-call]
        yield RayWorkers(call, workers or max(1, int(cpus)))
