"""What is installed: every import is a named dependency, the tested set fits the ranges, the wheel is whole."""

import ast
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
ROOMS = ("flows", "llm", "infra", "dashboards")
INSTALLERS = {"pip", "uv"}
PEERS = {"litgpt", "lightning", "llama_cpp", "swift", "eventlet"}  # some tests ask them, in an environment of their own


def project() -> dict[str, Any]:
    document: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return document


def requirements(*extras: str) -> list[Requirement]:
    document = project()
    optional = document["optional-dependencies"]
    return [Requirement(line) for line in document["dependencies"] + [line for extra in extras for line in optional[extra]]]


def constraints() -> dict[NormalizedName, Requirement]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    parsed = [Requirement(line) for line in lines]
    return {canonicalize_name(each.name): each for each in parsed}


def imported(folder: Path) -> dict[str, str]:
    """Each top-level name that the folder's code imports, wherever in a file that runs, and one file that does."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*.py")):
        tree = ast.parse(path.read_text())
        never = {id(node) for each in ast.walk(tree) if _for_types_alone(each) for node in ast.walk(each)}
        for node in (node for node in ast.walk(tree) if id(node) not in never):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names = [node.module]
            else:
                continue
            found |= {name.partition(".")[0]: path.relative_to(ROOT).as_posix() for name in names}
    return found


def _for_types_alone(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def foreign(names: dict[str, str]) -> dict[str, str]:
    ours = {*ROOMS, "tests", "benchmarks"}
    return {name: path for name, path in names.items() if name not in sys.stdlib_module_names and name not in ours}


def undeclared(names: dict[str, str], declared: list[Requirement]) -> list[str]:
    known = {canonicalize_name(each.name) for each in declared}
    owners = packages_distributions()
    return [
        f"{path} imports {name}"
        for name, path in names.items()
        if not known & {canonicalize_name(owner) for owner in owners.get(name, [name])}
    ]


@pytest.mark.parametrize("room", ROOMS)
def test_an_installed_slipway_lacks_no_library_it_imports(room: str) -> None:
    assert undeclared(foreign(imported(ROOT / room)), requirements()) == []


def test_the_dev_extra_brings_all_that_tests_import() -> None:
    names = foreign(imported(ROOT / "tests"))
    assert {"pytest", "packaging"} <= names.keys()
    assert undeclared({name: path for name, path in names.items() if name not in PEERS}, requirements("dev")) == []


def test_every_folder_of_code_is_a_package() -> None:
    code = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    assert sorted({path.parent for path in code if not (path.parent / "__init__.py").exists()}) == []


def test_the_tested_set_fits_the_ranges() -> None:
    tested = constraints()
    for each in requirements("dev"):
        pins = list(tested[canonicalize_name(each.name)].specifier)
        assert [pin.operator for pin in pins] == ["=="], f"{each.name} is not pinned"
        assert pins[0].version in each.specifier, f"{each.name}=={pins[0].version} is outside {each}"


def test_the_tested_set_installs_on_another_machine() -> None:
    tested = constraints()
    assert not [name for name, each in tested.items() if Version(next(iter(each.specifier)).version).local or each.url]
    assert not INSTALLERS & set(tested)
    assert [name for name in tested if name.startswith("nvidia-")] == ["nvidia-ml-py"]  # the others come with a torch for CUDA
    assert canonicalize_name(project()["name"]) not in tested


def test_the_wheel_holds_the_rooms_and_the_presets(tmp_path: Path) -> None:
    wheel = tmp_path / next(WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"]))
    names = set(zipfile.ZipFile(wheel).namelist())
    presets = {path.relative_to(ROOT).as_posix() for path in (ROOT / "flows/recipes/presets").glob("*.yaml")}
    code = {path.relative_to(ROOT).as_posix() for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    assert {"flows/recipes/presets/tiny.yaml", "flows/recipes/presets/small.yaml"} <= presets <= names
    assert code <= names
    assert "llm/models/decoding.cpp" in names  # compiled where it is used
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == set(ROOMS)
    scripts = next(name for name in names if name.endswith("entry_points.txt"))
    assert "slipway = flows.cli:main" in zipfile.ZipFile(wheel).read(scripts).decode()
