"""`slipway adapt BASE DATA`: a base model and some rows in; a finetuned, measured, released and serving model out."""

from typing import Annotated, Literal

import typer

from flows.catalog import FLOWS
from flows.cli.run import carry_out
from flows.recipes.loading import load_recipe
from infra.store.errors import InputError
from llm.data.config import dataset_name


def adapt(
    base: Annotated[str, typer.Argument(help="models:/NAME@champion, models:/NAME/VERSION or a model folder.")],
    data: Annotated[
        str,
        typer.Argument(help="Rows of yours, texts with labels or questions with answers: a file, a folder, s3://..., hf://..."),
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
    kind = "classify" if any(each.startswith("classify.") for each in settings or ()) else kind_of(data)
    other = "instruct" if kind == "classify" else "classify"
    said = [f"base={base}", f"{kind}.data.path={data}", f"{kind}.name={name or dataset_name(data, '')}", f"{kind}.target={to}"]
    chosen = load_recipe(FLOWS["adapt"].recipe, recipe, [*said, f"{other}.data.path=", *(settings or ())])
    return carry_out(FLOWS["adapt"], chosen, plan=plan, as_json=as_json)


def kind_of(data: str) -> Literal["classify", "instruct"]:
    """By the first rows: those that questions with answers can be read from are answered, others classified. Raises InputError."""
    from llm.data.kinds.instruction import instructions_of  # pyarrow, and only here
    from llm.data.kinds.sources import look
    from llm.data.reading.rows import peek

    rows = peek(look(data))
    try:
        instructions_of(rows)
    except InputError:
        return "classify"
    return "instruct" if rows else "classify"
