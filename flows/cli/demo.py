"""`slipway demo`: the lifecycle on text that every Python carries, or on yours."""

from typing import Annotated

import typer

from flows.catalog import FLOWS
from flows.cli.output import emit, note
from flows.cli.report import flow_document, look_next, summary
from flows.cli.run import execute
from flows.launch import plan_flow
from flows.pipeline.session import Session
from flows.recipes.loading import load_recipe
from infra.services import up, with_services
from infra.settings import Settings


def demo(
    data: Annotated[
        str | None, typer.Option(metavar="PATH", help="Your own text: .txt, .md or .jsonl, plain or .gz, a file or a folder.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave Prefect's and MLflow's servers up to look at; `slipway down` stops them.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """The whole way from text to a registered model, in minutes, with nothing to start beforehand."""
    entry = FLOWS["lifecycle"]
    recipe = load_recipe(entry.recipe, "tiny", () if data is None else [f"data.path={data}"])
    settings = Settings.load()
    if keep:
        up(settings)
    session = Session.open(with_services(settings))
    planned = plan_flow(entry, recipe, session)
    if all(walked.state == "reused" for walked in planned):
        note("Nothing changed since the last time: every result is reused.")
    walked = execute(entry, recipe, session, planned)
    emit(flow_document("lifecycle", walked), as_json, lambda: summary(walked) + "\n" + look_next(walked))
