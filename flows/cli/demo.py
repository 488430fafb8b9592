"""`slipway demo`: the lifecycle on text that every Python carries, or on yours."""

from typing import Annotated

import typer

from flows.catalog import FLOWS
from flows.cli import tour
from flows.cli.output import note
from flows.cli.run import end, execute
from flows.launch import plan_flow
from flows.pipeline.session import Session
from flows.recipes.loading import load_recipe
from infra.services import up, with_services
from infra.settings import Settings
from infra.targets import fleet
from llm.data.config import DataConfig


def demo(
    data: Annotated[
        str | None, typer.Option(metavar="PATH", help="Your own text: .txt, .md or .jsonl, plain or .gz, a file or a folder.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the models, Prefect and MLflow up to look at; `slipway down` stops them.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> int:
    """The whole way from text to models that answer over HTTP, in minutes, with nothing to start beforehand."""
    entry = FLOWS["lifecycle"]
    recipe = load_recipe(entry.recipe, "tiny", () if data is None else _own_text(data))
    settings = Settings.load()
    if keep:
        up(settings)
    served = {each.name for each in fleet.states(settings) if each.state == "serving"}
    try:
        fleet.restore_all(settings)  # what an earlier demo deployed: what serves need not be deployed again
        session = Session.open(with_services(settings))
        planned = plan_flow(entry, recipe, session)
        if all(walked.state == "reused" for walked in planned):
            note("Nothing changed since the last time: every result is reused.")
        walked = execute(entry, recipe, session, planned)
        asked = tour.ask(walked)
    finally:
        if not keep:
            fleet.stop_all(settings, but=served)
    return end("lifecycle", walked, as_json, lambda: tour.tour(walked, asked, kept=keep), tour.document(asked))


def _own_text(path: str) -> list[str]:
    """The base model alone, deployed to be asked, under a name of its own: it is no rival of the demo's champion."""
    name = DataConfig(path=path).dataset_name
    return [f"data.path={path}", f"registration.name=slipway-{name}", "registration.target=local"]
