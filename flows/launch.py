"""Starting a flow from the command line: plan it, check what it would stumble over, then run it where an orchestrator is."""

from collections.abc import Sequence
from dataclasses import replace

from flows.catalog import FlowEntry
from flows.pipeline.session import SESSION, Session, Walked, preflight
from flows.recipes.recipes import Recipe
from infra import orchestrator


def plan_flow(entry: FlowEntry, recipe: Recipe, session: Session) -> list[Walked]:
    """Every stage of the flow, reused or to be run, and why; walks the flow's own body and starts nothing."""
    planning = replace(session, planning=True, walked=[])
    orchestrator.prepare_environment(session.settings.home)  # before Prefect is imported with the flow
    token = SESSION.set(planning)
    try:
        entry.function()(recipe)
    finally:
        SESSION.reset(token)
    planning.check_forced()
    return planning.walked


def run_flow(entry: FlowEntry, recipe: Recipe, session: Session, plan: Sequence[Walked]) -> list[Walked]:
    """Runs the flow and returns its stages. With nothing to run, and no orchestrator up that would want to know, starts none."""
    preflight(session, plan)
    api_url = session.settings.prefect_api_url
    if api_url is None and all(walked.state == "reused" for walked in plan):
        return list(plan)
    server = orchestrator.connect(session.settings.home, api_url) if api_url else orchestrator.start_embedded(session.settings.home)
    token = SESSION.set(session)
    try:
        server.wait()
        orchestrator.reconcile()
        orchestrator.run_flow(entry.load(), recipe, embedded=api_url is None)
    finally:
        SESSION.reset(token)
    return session.walked
