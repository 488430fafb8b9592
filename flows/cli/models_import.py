"""`slipway models import`: a model from outside, into the store and the registry."""

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.output import emit, size
from flows.cli.progress import Terminal
from flows.cli.watching import watching
from flows.importing import import_model, named
from flows.origins import HUB, Origin, origin
from flows.pipeline.session import Session
from infra.services import with_services
from infra.settings import Settings


def import_(
    place: Annotated[
        str,
        typer.Argument(
            metavar="DIR|hf://OWNER/NAME[@REVISION]", help="A Hugging Face folder, a litgpt checkpoint, or a model of the hub."
        ),
    ],
    name: Annotated[
        str, typer.Option(help="The registered model's name. Left out, it is made from the folder's or the hub's.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Bring a model in: checked, its weights' hash, source, revision and licence on record, registered as a candidate.

    Weights are taken as safetensors alone, and streamed. From the hub a revision is pinned to its commit; HF_TOKEN, HF_ENDPOINT,
    HF_HOME and HF_HUB_OFFLINE are read. The same content is imported once.

    Example: slipway models import hf://Qwen/Qwen3-0.6B@main --name qwen
    """
    session = Session.open(with_services(Settings.load()))
    found = origin(place if place.startswith(HUB) else str(Path(place).expanduser().absolute()))
    with Terminal() as terminal:
        session.watch = watching(session.settings, terminal)
        imported, registered = import_model(session, found, name or named(place))
    document = _document(found, imported.result, registered.result) | {
        "reused": imported.state == "reused",
        "package": imported["package"].version,  # type: ignore[union-attr]
    }
    emit(document, as_json, lambda: _text(document))


def _document(found: Origin, imported: Any, registered: Any) -> dict[str, Any]:
    return {
        "model": registered["model"],
        "source": found.source,
        "revision": found.revision or None,
        "licence": found.licence or None,
        "layout": found.layout,
        "kind": registered["kind"],
        "parameters": imported["parameters"],
        "package_uri": imported["package_uri"],
        "weights_sha256": imported["weights_sha256"],
        "bytes": imported["bytes"],
        "files": dict(found.files),
    }


def _text(told: dict[str, Any]) -> str:
    revision = f" at {told['revision'][:12]}" if told["revision"] else ""
    lines = [
        f"{told['model']}: {told['source']}{revision}" + (", imported before: nothing was copied" if told["reused"] else ""),
        f"  {told['parameters']:,} parameters, {size(told['bytes'])}, licence {told['licence'] or 'not stated'}",
        f"  weights sha256 {told['weights_sha256'][:12]}, package {told['package']}",
        "",
        f"`slipway chat {told['model']}`, `slipway explain {told['model']}`, or `base: {told['model']}` in a recipe.",
    ]
    return "\n".join(lines)
