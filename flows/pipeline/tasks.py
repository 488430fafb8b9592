"""A stage as a Prefect task, so that it shows in the UI with its state; what is reused is a completed task named so."""

from prefect import State, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed

from flows.pipeline.session import Walked, current, verdict, walk
from flows.pipeline.stage import Stage
from infra.store.errors import AwaitingReviewError

AWAITING = "AwaitingReview"


def run(stage: Stage) -> Walked:
    """Does what `walk` does; outside a plan, as a task of the flow run."""
    if current().planning:
        return walk(stage)
    done: list[Walked] = []  # kept here: what a task returns as a state, Prefect hands on as a state

    @task(name=stage.name, cache_policy=NO_CACHE, persist_result=False, retries=0)
    def work() -> State[None] | None:
        done.append(walk(stage))
        why = "; ".join(done[0].why)
        match done[0].state:
            case "reused":
                return Completed(name="Reused", message=why)
            case "awaiting review":
                return Completed(name=AWAITING, message=why)
            case "refused":
                return Failed(name="Refused", message=why)
        return None

    work()
    return done[0]


def ended() -> State[None] | None:
    """The last word of a flow with stages that decide: the state AwaitingReview, a refusal raised, or nothing."""
    error = verdict(current().walked)
    if error is None:
        return None
    if isinstance(error, AwaitingReviewError):
        return Completed(name=AWAITING, message=str(error))
    raise error
