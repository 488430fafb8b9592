"""`slipway run FLOW`: a flow, here and now."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any

import typer

from flows.catalog import FLOWS, FlowEntry, flow_entry
from flows.cli.output import emit, note, print_error
from flows.cli.progress import Terminal
from flows.cli.report import flow_document, plan_document, plan_text, summary
from flows.cli.watching import watching
from flows.launch import plan_flow, run_flow
from flows.pipeline.session import Session, Walked, verdict
from flows.recipes.loading import load_recipe
from flows.recipes.recipes import Recipe
from infra.services import with_services
from infra.settings import Settings
from llm.events import Noted


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
) -> int:
    """Run a flow here and now. A second run with the same inputs reuses what is there and says so."""
    entry = flow_entry(flow)
    chosen = load_recipe(entry.recipe, recipe, settings or ())
    return carry_out(entry, chosen, plan=plan, as_json=as_json, force=frozenset(force or ()), strict=strict, wait=wait)


def carry_out(entry: FlowEntry, recipe: Recipe, *, plan: bool, as_json: bool, **options: Any) -> int:
    """Plans a flow and, unless only the plan was asked for, runs it; tells how it ended and returns the exit code."""
    session = Session.open(with_services(Settings.load()), **options)
    planned = plan_flow(entry, recipe, session)
    if plan:
        emit(plan_document(planned), as_json, lambda: plan_text(planned))
        return 0
    return end(entry.name, execute(entry, recipe, session, planned), as_json)


def execute(entry: FlowEntry, recipe: Recipe, session: Session, planned: list[Walked]) -> list[Walked]:
    """Runs a planned flow, with its progress on standard error."""
    with Terminal() as terminal:
        session.watch = watching(session.settings, terminal)
        session.note = lambda message: terminal(Noted(message))
        return run_flow(entry, recipe, session, planned)


def end(
    flow: str,
    walked: Sequence[Walked],
    as_json: bool,
    more: Callable[[], str] = str,
    facts: Mapping[str, Any] = MappingProxyType({}),
) -> int:
    """Tells how a flow ended, and returns the exit code: 0, or 3 and 4 where a stage refused or waits for a person.

    more, facts: what else there is to say, for people and for programs.
    """
    emit({**flow_document(flow, walked), **facts}, as_json, lambda: f"{summary(walked)}\n{more()}")
    error = verdict(walked)
    if error is None:
        return 0
    if not as_json:
        note("")
        print_error(error, as_json)
    return error.exit_code
