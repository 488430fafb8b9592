"""A stage as a Prefect task, so that it shows in the UI with its state; what is reused is a completed task named so."""

from prefect import State, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed

from flows.pipeline.session import Walked, current, walk
from flows.pipeline.stage import Stage


def run(stage: Stage) -> Walked:
    """Does what `walk` does; outside a plan, as a task of the flow run."""
    if current().planning:
        return walk(stage)
    done: list[Walked] = []  # kept here: what a task returns as a state, Prefect hands on as a state

    @task(name=stage.name, cache_policy=NO_CACHE, persist_result=False, retries=0)
    def work() -> State[None] | None:
        done.append(walk(stage))
        return Completed(name="Reused", message="; ".join(done[0].why)) if done[0].state == "reused" else None

    work()
    return done[0]
