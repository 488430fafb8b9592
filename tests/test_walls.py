"""The walls between the rooms: what may be imported where, held by contracts and by bare imports in a process of their own."""

import os
import resource
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("flows", "llm", "infra", "dashboards")
BIN = Path(sys.executable).parent

BARE = ("llm.models.llama", "llm.models.hub", "llm.training.step")
"""What must run on a GPU box that has torch and three small libraries, and nothing else of ours."""
BARE_LIBRARIES = ("torch", "numpy", "safetensors", "tokenizers")
BARE_BROUGHT = ("torchgen", "typing_extensions")
"""What those libraries import themselves."""

LIGHT = (
    "flows.cli",
    "flows.cli.output",
    "infra.settings",
    "llm.config",
    "llm.events",
    "llm.models.presets",
    "llm.models.hub_config",
    "llm.data.config",
)
"""What `slipway --help`, a plan and a run that reuses everything load before anything else."""
HEAVY = ("torch", "ray", "great_expectations", "mlflow", "prefect", "pandas", "pyarrow", "datasets")

ONLY = """
import importlib, importlib.abc, sys
allowed = set(sys.argv[1].split(",")) | sys.stdlib_module_names
class Wall(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] not in allowed:
            raise ModuleNotFoundError(f"{name} is outside the wall", name=name)
sys.meta_path.insert(0, Wall())
for module in sys.argv[2:]:
    importlib.import_module(module)
"""


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)


def test_model_code_runs_on_a_bare_gpu_box() -> None:
    allowed = ("llm", "infra", *BARE_LIBRARIES, *BARE_BROUGHT)
    result = python("-c", ONLY, ",".join(allowed), *BARE)
    assert result.returncode == 0, result.stderr


def test_store_needs_the_standard_library_alone() -> None:
    folder = ROOT / "infra" / "store"
    modules = [f"infra.store.{path.stem}" for path in sorted(folder.glob("*.py")) if path.stem not in ("__init__", "s3")]
    result = python("-c", ONLY, "infra", *modules)
    assert len(modules) >= 7
    assert result.returncode == 0, result.stderr


def test_the_light_path_loads_no_heavy_library() -> None:
    result = python("-c", f"import sys, {', '.join(LIGHT)}; print([name for name in {HEAVY} if name in sys.modules])")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "[]\n"


def test_help_answers_in_half_a_second() -> None:
    def seconds() -> float:
        # Of processor, not of the clock: the other tests share the cores.
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([BIN / "slipway", "--help"], capture_output=True, text=True, timeout=60, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert "demo" in done.stdout
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 0.5


def lint_imports(folder: Path, *contracts: str) -> subprocess.CompletedProcess[str]:
    chosen = [word for contract in contracts for word in ("--contract", contract)]
    return subprocess.run(
        [BIN / "lint-imports", "--no-logo", "--no-cache", *chosen],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def contracts() -> list[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return [contract["id"] for contract in settings["tool"]["importlinter"]["contracts"]]


BREACHES = {
    "floors": ("dashboards/breach.py", "import flows.cli", "dashboards.breach -> flows.cli"),
    "infra-without-llm": ("infra/breach.py", "def late():\n    import llm.events", "infra.breach -> llm.events"),
    "llm-on-the-store": ("llm/breach.py", "from infra.settings import Settings", "llm.breach -> infra.settings"),
    "store-on-nothing": ("infra/store/breach.py", "from infra import settings", "infra.store.breach -> infra.settings"),
    "llm-pure": ("llm/training/breach.py", "def late():\n    import mlflow.pyfunc", "llm.training.breach -> mlflow"),
    "dashboards-read": ("dashboards/breach.py", "import llm.events", "dashboards.breach -> llm.events"),
    "ray-in-its-place": ("flows/breach.py", "from ray import train", "flows.breach -> ray"),
    "web-in-its-place": ("infra/breach.py", "from fastapi import FastAPI", "infra.breach -> fastapi"),
    "acyclic": ("llm/models/breach.py", "import llm.training.step", ".models -> .training"),
}
"""One for each contract: a file, what it must not import, and the words that name the breach."""


def test_every_contract_has_its_breach() -> None:
    assert sorted(BREACHES) == sorted(contracts())


def test_the_walls_stand() -> None:
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("contract", sorted(BREACHES))
def test_a_breach_is_caught(contract: str, tmp_path: Path) -> None:
    for room in ROOMS:
        shutil.copytree(ROOT / room, tmp_path / room, ignore=lambda folder, names: [n for n in names if not _is_code(folder, n)])
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    name, breach, named = BREACHES[contract]
    (tmp_path / name).write_text(f"{breach}\n")
    result = lint_imports(tmp_path, contract)
    assert result.returncode == 1, result.stderr
    assert "1 broken" in result.stdout
    assert named in result.stdout


def _is_code(folder: str, name: str) -> bool:
    return name.endswith(".py") or (Path(folder, name).is_dir() and name != "__pycache__")
