"""A training on Ray workers, whatever dies under it: where the head of our own cluster died, another cluster goes on."""

from collections.abc import Callable
from typing import Final, TypeVar

from flows.pipeline.stage import Job
from infra.cluster import ClusterError, connect
from llm.events import Noted, Observer
from llm.training.distributed import HeadLostError, train_on_workers
from llm.training.history import History
from llm.training.job import TrainingJob
from llm.training.topology import Topology
from llm.training.worker_counts import Workers, fewest, most

J = TypeVar("J", bound=TrainingJob)
_CLUSTERS: Final = 4  # the first, and three that go on


def train_on_ray(
    job: Job, train: Callable[[J, Observer, Topology], History], plan: J, workers: Workers, observe: Observer, *, cores: int
) -> History:
    """`train(plan, ...)` on the cluster at RAY_ADDRESS, or on one of our own that lives as long as the call.

    cores: of this machine, where `workers` leaves open how many there are. Raises what `train_on_workers` raises, HeadLostError or
    ClusterError once several clusters of our own have died or did not start.
    """
    address = job.settings.ray_address
    places = max(fewest(workers), min(most(workers), cores))
    for left in reversed(range(_CLUSTERS)):
        try:
            with connect(address, cpus=places, home=job.settings.home):
                return train_on_workers(train, plan, workers, observe, embedded=address is None)
        except (HeadLostError, ClusterError) as error:  # Ray gives itself 30 seconds to start, which a busy machine may not have
            if not left or address:
                raise
            observe(Noted(f"{error.what}; another cluster starts, and training goes on from the newest checkpoint"))
    raise AssertionError("the last one returned or raised")
