"""What the documents say is so: commands, keys, settings and paths that a reader would try."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from flows.catalog import FLOWS
from flows.cli import COMMANDS, _load
from flows.recipes.loading import load_recipe, preset_names
from flows.recipes.recipes import LifecycleRecipe
from infra.settings import Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def commands() -> list[list[str]]:
    lines = [line.partition("#")[0] for block in blocks("sh") for line in block.splitlines()]
    words = [shlex.split(command) for line in lines for command in line.split(";")]
    return [each for each in words if each[:1] == ["slipway"]]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_a_command_of_the_readme_exists_with_its_options(words: list[str]) -> None:
    name = max((name for name in COMMANDS if words[1:][: len(name.split())] == name.split()), key=len, default="")
    assert name, f"{words} is no command"
    import typer

    application = typer.Typer(add_completion=False)
    application.command()(_load(COMMANDS[name][0]))
    command = typer.main.get_command(application)
    context = command.make_context(name, words[1 + len(name.split()) :])
    if name == "run":
        settings = context.params["settings"] or []
        load_recipe(FLOWS[context.params["flow"]].recipe, "tiny", settings)


def test_the_recipe_of_the_readme_is_one(tmp_path: Path) -> None:
    (recipe,) = blocks("yaml")
    assert set(yaml.safe_load(recipe)) == {"data", "tokenizer", "pretrain", "registration"}
    (tmp_path / "my.yaml").write_text(recipe)
    for entry in FLOWS.values():
        if issubclass(LifecycleRecipe, entry.recipe):  # what decides on a registered version takes its address, no recipe's section
            load_recipe(entry.recipe, str(tmp_path / "my.yaml"))


def test_the_table_of_flows_and_the_presets_are_those_there_are() -> None:
    assert re.findall(r"^\| `([a-z-]+)` \|", README, re.MULTILINE) == list(FLOWS)
    assert all(f"`{name}`" in README for name in preset_names())


def test_the_table_of_settings_is_complete() -> None:
    named = set(re.findall(r"^\| `([A-Z_]+)` \|", README, re.MULTILINE))
    read = {str(field.validation_alias) for field in Settings.model_fields.values()}
    assert named == read | {"SLIPWAY_TEST_DATA"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_path_in_a_document_leads_somewhere(document: Path) -> None:
    text = document.read_text()
    links = [document.parent / link for link in re.findall(r"\]\(([^)#:]+)\)", text)]
    named = [ROOT / path for path in re.findall(r"`((?:tests|infra|llm|flows|benchmarks|docs)/[\w./-]+)`", text)]
    assert not [path for path in links + named if not path.exists()]
