"""`slipway data validate`: whether data is fit to train on, before anything is started. No server, and nothing is stored."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import typer

from flows.cli.output import emit, note, print_error, table
from flows.recipes.loading import load_recipe
from flows.recipes.recipes import FinetuneClassifyRecipe, FinetuneInstructRecipe, Recipe, ValidateDataRecipe
from flows.recipes.sections import FORM
from infra.settings import Settings
from infra.store import open_store
from llm.data.config import DataConfig
from llm.data.preference_config import PreferenceData
from llm.events import Event, Noted

Kind = Literal["corpus", "instruction", "preference", "classification"]


@dataclass(frozen=True, kw_only=True)
class _Prefer:
    __pydantic_config__: ClassVar[dict[str, object]] = FORM

    data: PreferenceData = PreferenceData()
    """Where the pairs of answers are, and what is expected of them."""


class PreferRecipe(Recipe):
    """Preferences, as far as they are judged."""

    prefer: _Prefer = _Prefer()
    """Pairs of answers."""


_RECIPES: dict[Kind, tuple[type[Recipe], str]] = {
    "corpus": (ValidateDataRecipe, "data"),
    "instruction": (FinetuneInstructRecipe, "instruct.data"),
    "preference": (PreferRecipe, "prefer.data"),
    "classification": (FinetuneClassifyRecipe, "classify.data"),
}


def validate(
    path: Annotated[str, typer.Argument(help="A file, folder or glob; s3://BUCKET/PREFIX; hf://OWNER/NAME; python-stdlib.")],
    kind: Annotated[Kind, typer.Option(help="What a row is.")] = "corpus",
    recipe: Annotated[str, typer.Option(help="A preset or a YAML file: columns, cleaning, limits, waivers.")] = "",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the recipe.")
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="An evaluation set: rows that hold one of its questions are left out. May be repeated."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where report and lists of rows go; by default into the home.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> int:
    """Read and clean data as a flow would, count every row, and judge it. Exit 0: passed; 3: refused; 2: cannot be read."""
    named = [f"{_RECIPES[kind][1]}.cleaning.evaluation_sets={json.dumps(against)}"] if against else []
    data, section = _section(kind, path, recipe, [*named, *(settings or [])])
    home = Settings.load()
    from flows.judging import judge  # Great Expectations takes seconds, and a mistyped setting should not
    from flows.verdict import notes, refusal

    judged = judge(kind, path, data, out, _say, home=home.home, store=open_store(home.store))
    emit(judged.document, as_json, lambda: _text(judged.document))
    for said in notes(judged.report):
        note(said)
    if judged.report.passed:
        return 0
    error = refusal(judged.report, path, f"{section}.expectations")
    print_error(error, as_json=False)  # the document has said it where `--json` was asked for: this is for people
    return error.exit_code


def _section(kind: Kind, path: str, recipe: str, settings: list[str]) -> tuple[Any, str]:
    """The recipe's section about such data, with the path in it; and its keys."""
    made, section = _RECIPES[kind]
    found: Any = load_recipe(made, recipe, [*settings, f"{section}.path={json.dumps(path)}"])
    for name in section.split("."):
        found = getattr(found, name)
    return (replace(found, sources=()) if isinstance(found, DataConfig) else found), section


def _say(event: Event) -> None:
    if isinstance(event, Noted):
        note(event.message)


_MOST = 20


def _text(document: Mapping[str, Any]) -> str:
    """A short table, for people: what does not hold, what was left out, and where the page is."""
    judged = document["expectations"]
    amiss = [each for each in judged if not each["success"]]
    verdict = "passed" if document["passed"] else "REFUSED"
    held = f"{len(judged) - len(amiss)} of {len(judged)} expectations hold"
    lines = [f"{document['name']} ({document['kind']}): {verdict}; {held}. {document['kept']:,} of {document['rows']:,} rows kept."]
    if amiss:
        rows = [(each["verdict"], each["words"], _number(each["observed"]), each["asked"]) for each in amiss]
        lines += ["", table(("verdict", "expectation", "observed", "wanted"), rows)]
    examples = [f"  {each['words']}: {example}" for each in amiss if each["verdict"] == "failed" for example in each["examples"]]
    lines += ["", "Rows that show it:", *examples[:_MOST]] if examples else []
    for name, head in (("rejected", "rejected for"), ("found", "found and kept")):
        if counts := document[name]:
            lines += ["", table((head, "rows" if name == "rejected" else "times"), list(counts.items())[:_MOST])]
    lines += ["", f"Report: {document['report']}", f"Rejected rows: {document['rejected_file']}"]
    lines += [f"Findings: {document['findings_file']}"] if document["found"] else []
    return "\n".join(lines)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.4g}"
