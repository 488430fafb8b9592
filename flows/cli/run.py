"""`slipway run FLOW`: a flow, here and now."""

from typing import Annotated

import typer

from flows.catalog import FLOWS, FlowEntry, flow_entry
from flows.cli.output import emit
from flows.cli.progress import Terminal
from flows.cli.report import flow_document, plan_document, plan_text, summary
from flows.cli.watching import watching
from flows.launch import plan_flow, run_flow
from flows.pipeline.session import Session, Walked
from flows.recipes.loading import load_recipe
from flows.recipes.recipes import Recipe
from infra.services import with_services
from infra.settings import Settings


def run(
    flow: Annotated[str, typer.Argument(help=f"One of {', '.join(FLOWS)}.")],
    recipe: Annotated[str, typer.Option(help="A preset, or a YAML file.")] = "tiny",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one key of the recipe; may be repeated.")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say what would run, what is reused and why; start nothing.")] = False,
    force: Annotated[
        list[str] | None, typer.Option(metavar="STAGE", help="Run this stage again though its result is there; may be repeated.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse results of stages whose code changed since (exit 3).")] = False,
    wait: Annotated[
        float, typer.Option(help="Seconds to wait for another run of the same stage, before giving up (exit 5).")
    ] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Run a flow here and now. A second run with the same inputs reuses what is there and says so."""
    entry = flow_entry(flow)
    chosen = load_recipe(entry.recipe, recipe, settings or ())
    session = Session.open(with_services(Settings.load()), force=frozenset(force or ()), strict=strict, wait=wait)
    planned = plan_flow(entry, chosen, session)
    if plan:
        emit(plan_document(planned), as_json, lambda: plan_text(planned))
        return
    walked = execute(entry, chosen, session, planned)
    emit(flow_document(flow, walked), as_json, lambda: summary(walked))


def execute(entry: FlowEntry, recipe: Recipe, session: Session, planned: list[Walked]) -> list[Walked]:
    """Runs a planned flow, with its progress on standard error."""
    with Terminal() as terminal:
        session.watch = watching(session.settings, terminal)
        return run_flow(entry, recipe, session, planned)
