"""`slipway adapt BASE DATA`: a base model and some rows in; a finetuned, measured, released and serving model out."""

import gzip
import json
import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.catalog import FLOWS
from flows.cli.run import carry_out
from flows.recipes.loading import load_recipe
from infra.store.errors import InputError


def adapt(
    base: Annotated[str, typer.Argument(help="models:/NAME@champion, models:/NAME/VERSION or a model folder.")],
    data: Annotated[
        str,
        typer.Argument(help="Rows of yours: texts with labels (.jsonl, .csv, .tsv), or questions with answers (.jsonl, .json)."),
    ],
    name: Annotated[str, typer.Option(help="The new model's name. Left out, it is made from the file's.")] = "",
    to: Annotated[str, typer.Option(metavar="TARGET", help="Where it is deployed; empty: nowhere.")] = "local",
    recipe: Annotated[str, typer.Option(help="A preset, or a YAML file. Left out, the defaults.")] = "",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one key of the recipe; may be repeated.")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say what would run, what is reused and why; start nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> int:
    """Finetune an existing model on rows of your own, and serve it.

    Labelled texts make a classifier, questions with answers an assistant. It is measured on rows it never saw, registered,
    released when its gates pass, and deployed; `slipway rollback` takes it back.
    """
    kind = "classify" if any(each.startswith("classify.") for each in settings or ()) else kind_of(Path(data).expanduser())
    other = "instruct" if kind == "classify" else "classify"
    said = [f"base={base}", f"{kind}.data.path={data}", f"{kind}.name={name or named(data)}", f"{kind}.target={to}"]
    chosen = load_recipe(FLOWS["adapt"].recipe, recipe, [*said, f"{other}.data.path=", *(settings or ())])
    return carry_out(FLOWS["adapt"], chosen, plan=plan, as_json=as_json)


def kind_of(data: Path) -> Literal["classify", "instruct"]:
    """By the first row: a `text` with a `label` is to be classified, whatever else is there is to be answered."""
    suffix = next((suffix for suffix in reversed(data.suffixes) if suffix != ".gz"), "")
    if suffix in (".csv", ".tsv"):
        return "classify"
    try:
        with gzip.open(data, "rt") if data.suffix == ".gz" else data.open() as file:
            first = next((line for line in file if line.strip()), "")
        row = json.loads(first)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read ({error})", where=str(data), mend="Name a .jsonl, .json, .csv or .tsv file.") from None
    except ValueError:  # a .json file over many lines, or a bad first row: the reader of instructions says which
        return "instruct"
    return "classify" if isinstance(row, dict) and {"text", "label"} <= row.keys() else "instruct"


def named(data: str) -> str:
    stem = Path(data).name.split(".", maxsplit=1)[0]
    return re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-") or "adapted"
