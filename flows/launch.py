"""Starting a flow from the command line: plan it, check what it would stumble over, then run it where an orchestrator is."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from flows.catalog import FlowEntry
from flows.pipeline.session import SESSION, Session, Walked, preflight, verdict
from flows.recipes.recipes import Recipe
from infra import flow_runs, orchestrator
from infra.store.errors import RefusedError


def plan_flow(entry: FlowEntry, recipe: Recipe, session: Session) -> list[Walked]:
    """Every stage of the flow, reused or to be run, and why; walks the flow's own body and starts nothing."""
    orchestrator.prepare_environment(session.settings.home)  # before Prefect is imported with the flow
    return walk_plan(entry.function(), recipe, session)


def walk_plan(body: Callable[[Recipe], Any], recipe: Recipe, session: Session) -> list[Walked]:
    """The same for the body of a flow."""
    planning = replace(session, planning=True, walked=[])
    token = SESSION.set(planning)
    try:
        body(recipe)
    finally:
        SESSION.reset(token)
    planning.check_forced()
    return planning.walked


def run_flow(entry: FlowEntry, recipe: Recipe, session: Session, plan: Sequence[Walked]) -> list[Walked]:
    """Runs the flow and returns its stages. With nothing to run, and no orchestrator up that would want to know, starts none.

    A refusal, or a person awaited, is in the stages (`verdict` says it): they are what is told beside it.
    """
    preflight(session, plan)
    api_url = session.settings.prefect_api_url
    if api_url is None and all(walked.state == "reused" for walked in plan):
        return list(plan)
    server = orchestrator.connect(session.settings.home, api_url) if api_url else orchestrator.start_embedded(session.settings.home)
    token = SESSION.set(session)
    try:
        server.wait()
        if entry.name != "reconcile":  # that flow does it itself, and tells
            flow_runs.end_gone()
        orchestrator.run_flow(entry.load(), recipe, embedded=api_url is None)
    except RefusedError as error:
        said = verdict(session.walked)
        if said is None or str(said) != str(error):
            raise
    finally:
        SESSION.reset(token)
    return session.walked
