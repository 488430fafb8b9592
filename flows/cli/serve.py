"""`slipway serve MODEL`: a model behind an OpenAI-compatible API on this machine."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.cli.located import locate


def serve(
    model: Annotated[str, typer.Argument(help="models:/NAME@ALIAS, models:/NAME/VERSION or a package's folder.")],
    host: Annotated[str, typer.Option(help="The address to listen on; beyond loopback an API key is needed.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes any free one.")] = 8000,
    name: Annotated[str, typer.Option(help="What clients call the model; by default as it is registered.")] = "",
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "int8"],
        typer.Option(help="Of the weights; auto: fp32, exactly as evaluated, or bf16 where they are stored so."),
    ] = "auto",
    api_key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file with the key that clients must send; SLIPWAY_API_KEY gives it too.")
    ] = None,
    slots: Annotated[int, typer.Option(min=1, max=256, help="Requests that advance in turn.")] = 4,
    queue: Annotated[int, typer.Option(min=0, max=100_000, help="Requests that may wait beyond those.")] = 64,
    grace: Annotated[int, typer.Option(min=0, max=86_400, help="Seconds that running requests get to end after a Ctrl-C.")] = 30,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document when the server is ready.")] = False,
) -> None:
    """Serve a model until Ctrl-C, which lets running requests end; a second one ends at once."""
    located = locate(model)
    argv = [
        *(sys.executable, "-P", "-m", "llm.serving", str(located.folder), "--name", name or located.name),
        *(
            "--precision",
            precision,
            "--host",
            host,
            "--port",
            str(port),
            "--slots",
            str(slots),
            "--queue",
            str(queue),
            "--grace",
            str(grace),
        ),
        *(() if api_key_file is None else ("--api-key-file", str(api_key_file.expanduser().absolute()))),
        *(("--json",) if as_json else ()),
    ]
    # The server takes this process's place: signals reach it directly, and nothing of MLflow stays in memory.
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, argv)
