"""`slipway up`, `down`, `status`: the local services."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from flows.cli.output import duration, emit, note, size, table
from infra import services
from infra.settings import Settings

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def up(as_json: AsJson = False) -> None:
    """Start the local services, on loopback; those that run already are left alone, a dead one is replaced.

    Runs started while they are up appear on their pages; `slipway down` stops them.
    """
    settings = Settings.load()
    if any(each.state != "running" for each in services.state(settings)):
        note("Starting the local services; this takes some 20 seconds ...")
    endpoints = services.up(settings)
    emit(_document(settings, started=list(endpoints.started)), as_json, lambda: _up_text(endpoints))


def down(as_json: AsJson = False) -> None:
    """Stop the local services, whatever state they are in. What they hold stays: it is in the home."""
    settings = Settings.load()
    stopped = services.down(settings) if settings.home.is_dir() else []
    text = f"Stopped {' and '.join(stopped)}." if stopped else "Nothing was running."
    emit({"stopped": stopped, "home": str(settings.home)}, as_json, text)


def status(as_json: AsJson = False) -> None:
    """What runs, as it is now, and where things are kept."""
    settings = Settings.load()
    emit(_document(settings), as_json, lambda: _status_text(settings))


def _document(settings: Settings, **more: Any) -> dict[str, Any]:
    states = [asdict(each) for each in services.state(settings)]
    return {"services": states, "home": str(settings.home), "store": settings.store, **more}


def _up_text(endpoints: services.Endpoints) -> str:
    rows = [
        (name, url, "started" if name in endpoints.started else "ran already")
        for name, url in (("prefect", _page(endpoints.prefect_api_url)), ("mlflow", _page(endpoints.mlflow_url)))
    ]
    return table(("service", "page", ""), rows) + "\n\nRuns started from now on appear there. Stop them with `slipway down`."


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
    if any(each[1] in ("dead", "not answering") for each in rows):
        lines.append("\n`slipway up` replaces what does not work, `slipway down` clears it away.")
    return "\n".join(lines)
