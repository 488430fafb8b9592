"""What Ray Train does when workers die: whether it tries again, and with how many."""

import time
from collections.abc import Callable
from typing import Final

import ray
from ray.train.v2._internal.execution.context import TrainRunContext
from ray.train.v2._internal.execution.failure_handling import DefaultFailurePolicy, FailureDecision
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy, NoopDecision, ResizeDecision, ScalingDecision
from ray.train.v2._internal.execution.worker_group import WorkerGroupPollStatus, WorkerGroupState
from ray.train.v2.api.config import FailureConfig, ScalingConfig
from ray.train.v2.api.exceptions import ControllerError, TrainingFailedError, WorkerGroupError

from infra.store.errors import SlipwayError, StoreError

_WAIT_SECONDS: Final = 1.0


class Restarts(DefaultFailurePolicy):
    """Tries again after a death, `most` times from one checkpoint: whoever makes progress is not given up.

    An error that has a sentence for a person comes again however often one tries: it is not tried again.
    """

    def __init__(self, most: int, newest: Callable[[], str]) -> None:
        super().__init__(FailureConfig(max_failures=most))
        self._newest, self._known = newest, ""

    def make_decision(self, training_failed_error: TrainingFailedError) -> FailureDecision:
        if ours(training_failed_error) is not None:
            return FailureDecision.RAISE
        try:
            newest = self._newest()
        except StoreError:  # away for a moment: no progress that we know of
            newest = self._known
        if newest != self._known:
            self._known, self._worker_group_failures = newest, 0
        if isinstance(training_failed_error, ControllerError) and not self._is_retryable_error(training_failed_error):
            # A machine was lost while its workers were about to join the others: Ray would give up.
            training_failed_error = WorkerGroupError(str(training_failed_error), {0: training_failed_error.controller_failure})
        return super().make_decision(training_failed_error)


class Places(FixedScalingPolicy):
    """Starts with the largest of `counts` that the living nodes have room for, and waits while there is none for the smallest.

    It looks at the start and after a death. A group that trains is left alone: to stop it would cost the steps since its last
    checkpoint. Where a group did not come to train, for others hold the room, the next smaller one is tried.
    asks: whether to ask the cluster's autoscaler for room, which takes an actor more.
    """

    def __init__(self, config: ScalingConfig, counts: tuple[int, ...], *, asks: bool) -> None:
        super().__init__(config)
        self._counts, self._asks = sorted(counts, reverse=True), asks
        self._failed = 0

    def make_decision_for_non_running_worker_group(self) -> ScalingDecision:
        self._maybe_send_resource_request()
        each = self.scaling_config._resources_per_worker_not_none
        room = _room(each)
        fit = [count for count in self._counts if count <= room]
        if not fit:
            time.sleep(_WAIT_SECONDS)  # Ray asks again at once
            return NoopDecision()
        count = fit[min(self._failed, len(fit) - 1)]
        self._failed += 1
        return ResizeDecision(num_workers=count, resources_per_worker=each)

    def make_decision_for_running_worker_group(
        self, worker_group_state: WorkerGroupState, worker_group_status: WorkerGroupPollStatus
    ) -> ScalingDecision:
        self._failed = 0
        return super().make_decision_for_running_worker_group(worker_group_state, worker_group_status)

    def after_controller_start(self, train_run_context: TrainRunContext) -> None:
        if self._asks:
            super().after_controller_start(train_run_context)

    def _maybe_send_resource_request(self) -> None:
        if self._asks:
            super()._maybe_send_resource_request()  # type: ignore[no-untyped-call]

    def _get_num_workers_for_resource_request(self) -> int:
        return self._counts[0]


def _room(each: dict[str, float]) -> int:
    """Workers that take so much each and have a place on the living nodes."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return sum(min(int(node.get(name, 0) // amount) for name, amount in each.items() if amount) for node in nodes)


def ours(error: Exception) -> SlipwayError | None:
    """What a worker raised that has a sentence for a person."""
    failures = error.worker_failures.values() if isinstance(error, WorkerGroupError) else ()
    return next((failure for failure in failures if isinstance(failure, SlipwayError)), None)
