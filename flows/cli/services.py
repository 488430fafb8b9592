"""`slipway up`, `down`, `status`: the local services."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from flows.catalog import FLOWS
from flows.cli.output import duration, emit, note, size, table
from flows.cli.targets import targets_text
from infra import services
from infra.settings import Settings
from infra.targets import fleet

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def up(as_json: AsJson = False) -> None:
    """Start the local services, on loopback; those that run already are left alone, a dead one is replaced.

    Runs started while they are up appear on their pages, where every flow can be started with a form; `slipway down` stops them.
    """
    settings = Settings.load()
    if any(each.state != "running" for each in services.state(settings)):
        note("Starting the local services; this takes some 20 seconds ...")
    endpoints = services.up(settings)
    for name, error in fleet.restore_all(settings).items():
        note(f"{name}: serves again" if error is None else f"{name}: {error}")
    emit(_document(settings, started=list(endpoints.started)), as_json, lambda: _up_text(endpoints))


def down(as_json: AsJson = False) -> None:
    """Stop the local services and targets, whatever state they are in. What they hold stays; `slipway up` brings all of it back."""
    settings = Settings.load()
    stopped = [*services.down(settings), *fleet.stop_all(settings)] if settings.home.is_dir() else []
    text = f"Stopped {', '.join(stopped[:-1])}{' and ' * (len(stopped) > 1)}{stopped[-1]}." if stopped else "Nothing was running."
    emit({"stopped": stopped, "home": str(settings.home)}, as_json, text)


def status(as_json: AsJson = False) -> None:
    """What runs, as it is now, and where things are kept."""
    settings = Settings.load()
    emit(_document(settings), as_json, lambda: _status_text(settings))


def _document(settings: Settings, **more: Any) -> dict[str, Any]:
    states = [asdict(each) for each in services.state(settings)]
    targets = [each.document() for each in fleet.states(settings)]
    return {"services": states, "targets": targets, "home": str(settings.home), "store": settings.store, **more}


def _up_text(endpoints: services.Endpoints) -> str:
    prefect, mlflow = _page(endpoints.prefect_api_url), _page(endpoints.mlflow_url)
    forms = f"{prefect}/deployments"
    rows = [
        (name, page, "started" if name in endpoints.started else "ran already")
        for name, page in (("prefect", prefect), ("mlflow", mlflow), ("worker", forms))
    ]
    lines = [
        table(("service", "page", ""), rows),
        "",
        f"The worker starts any of {', '.join(FLOWS)} from a form:",
        f"{forms}, then Run, Custom run. Runs from the command line appear there too.",
        "Stop all of it with `slipway down`.",
    ]
    return "\n".join(lines)


def _page(url: str | None) -> str:
    return (url or "").removesuffix("/api")


def _status_text(settings: Settings) -> str:
    rows = [
        (
            each.name,
            each.state,
            each.url or "",
            "" if each.pid is None else str(each.pid),
            "" if each.uptime is None else duration(each.uptime),
            "" if each.memory is None else size(each.memory),
        )
        for each in services.state(settings)
    ]
    lines = [
        table(("service", "state", "url", "pid", "up for", "memory"), rows),
        "",
        f"home   {settings.home}",
        f"store  {settings.store}",
    ]
    if targets := fleet.states(settings):
        lines += ["", targets_text(targets)]
    if any(each[1] in ("dead", "not answering") for each in rows):
        lines.append("\n`slipway up` replaces what does not work, `slipway down` clears it away.")
    return "\n".join(lines)
