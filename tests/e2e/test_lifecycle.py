"""From text to a registered model with one command, and everything reused by the next."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.e2e.conftest import FAST, Finished, Slipway

LIFECYCLE = ["run", "lifecycle", "--set", "data.path=text.txt", *FAST]
LOAD = """
import json, sys, mlflow
model = mlflow.pyfunc.load_model(sys.argv[1])
print(json.dumps(model.predict(["The ship", "A cold"], params=None)))
"""
HEAVY = """
import sys
from flows.cli import main
try:
    main()
finally:
    print([name for name in ("torch", "ray", "great_expectations") if name in sys.modules], file=sys.stderr)
"""
PARITY = """
import sys, torch
from pathlib import Path
from transformers import AutoModelForCausalLM, AutoTokenizer
from llm.models.hub import load_model
from llm.text.tokenizer import Tokenizer
folder = Path(sys.argv[1])
ours, theirs = load_model(folder), AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
ids = AutoTokenizer.from_pretrained(folder).encode("The old captain finds an empty quay")
assert ids == Tokenizer.load(folder).encode("The old captain finds an empty quay")
with torch.no_grad():
    print(float((ours(torch.tensor([ids])) - theirs(torch.tensor([ids])).logits).abs().max()))
"""


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory, text: Callable[[Path], Path]) -> Iterator[tuple[Slipway, Finished]]:
    """A home in which the lifecycle has run once."""
    root = tmp_path_factory.mktemp("lifecycle")
    slipway = Slipway(root / "home", root / "work")
    text(slipway.folder / "text.txt")
    first = slipway(*LIFECYCLE, "--json")
    assert first.code == 0, first.err
    yield slipway, first


def test_the_document_holds_what_programs_rely_on(lived: tuple[Slipway, Finished]) -> None:
    document = lived[1].json()
    stages = ["validate-data", "prepare-data", "pretrain", "evaluate", "register", "release"]
    assert [stage["stage"] for stage in document["stages"]] == stages
    assert {stage["state"] for stage in document["stages"]} == {"done"}
    assert document["model"] == "models:/slipway-tiny/1"
    assert document["attempts"] == 1
    assert document["resumed_from"] is None
    assert document["run_id"].startswith("pretrain-")
    metrics = document["metrics"]
    assert metrics["tokens"] == 12 * 4 * 32
    assert 0 < metrics["val_bits_per_byte"] < 8
    assert metrics["tokens_per_second"] > 0
    table = pq.read_table(document["metrics_file"])
    assert set(table.column_names) >= {"step", "loss", "tokens", "learning_rate", "gradient_norm", "tokens_per_second"}
    assert table["step"].to_pylist() == list(range(1, 13))


def test_a_second_run_reuses_everything_without_loading_the_heavy_libraries(lived: tuple[Slipway, Finished]) -> None:
    slipway, first = lived
    done = subprocess.run(
        [sys.executable, "-c", HEAVY, *LIFECYCLE, "--json"],
        cwd=slipway.folder,
        env=slipway.env(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert {stage["state"] for stage in document["stages"]} == {"reused"}
    assert document["run_id"] == first.json()["run_id"]
    assert done.stderr.splitlines()[-1] == "[]"


def test_a_plan_says_what_would_run_and_why_and_changes_nothing(lived: tuple[Slipway, Finished]) -> None:
    slipway, _ = lived
    before = slipway.contents()
    plan = slipway(*LIFECYCLE, "--set", "training.steps=13", "--plan")
    lines = [line for line in plan.out.splitlines() if not line.startswith(" ")]  # further reasons stand indented below
    assert plan.code == 0, plan.err
    stages = ["validate-data", "prepare-data", "pretrain", "evaluate", "register", "release"]
    assert [line.split()[0] for line in lines] == stages
    assert "would run  settings.training.steps: 12 -> 13" in lines[2]
    assert "after pretrain" in lines[3]
    assert slipway.contents() == before


def test_the_registered_model_answers_through_mlflow(lived: tuple[Slipway, Finished]) -> None:
    slipway, _ = lived
    env = slipway.env(MLFLOW_TRACKING_URI=f"sqlite:///{slipway.home}/mlflow.db")
    done = subprocess.run(
        [sys.executable, "-c", LOAD, "models:/slipway-tiny/1"], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    assert len(answers) == 2
    assert all(isinstance(answer, str) for answer in answers)
    again = slipway(*LIFECYCLE, "--force", "evaluate", "--json")
    assert again.code == 0, "what MLflow wrote beside the package does not damage it"


def test_transformers_gives_the_same_logits_for_the_package(lived: tuple[Slipway, Finished]) -> None:
    slipway, _ = lived
    package = next(slipway.home.glob("store/runs/pretrain-*/artifacts/package"))
    done = subprocess.run(
        [sys.executable, "-c", PARITY, str(package)], env=slipway.env(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1e-4


def test_the_registry_shows_version_card_and_lineage(lived: tuple[Slipway, Finished]) -> None:
    slipway, _ = lived
    listed = slipway("models", "list", "--json").json()
    assert "slipway-tiny" in json.dumps(listed)
    shown = slipway("models", "show", "models:/slipway-tiny/1")
    assert shown.code == 0, shown.err
    assert "bits per byte" in shown.out
    assert slipway("models", "show", "models:/slipway-tinny/1").code == 2


def test_a_registered_model_takes_the_place_of_pretraining(lived: tuple[Slipway, Finished]) -> None:
    slipway, _ = lived
    based = slipway("run", "evaluate", "--set", "data.path=text.txt", "--set", "base=models:/slipway-tiny/1", "--json")
    assert based.code == 0, based.err
    stages = based.json()["stages"]
    assert [stage["stage"] for stage in stages] == ["validate-data", "prepare-data", "evaluate"]
    package = next(slipway.home.glob("store/runs/pretrain-*/artifacts/package"))
    copy = slipway.folder / "copy"
    subprocess.run(["cp", "-r", str(package), str(copy)], check=True)
    imported = slipway(
        "run", "lifecycle", "--set", "data.path=text.txt", "--set", "base=copy", "--set", "registration.name=imported", "--json"
    )
    assert imported.code == 0, imported.err
    assert imported.json()["model"] == "models:/imported/1"
    assert [stage["stage"] for stage in imported.json()["stages"]] == [
        "validate-data",
        "import-base",
        "prepare-data",
        "evaluate",
        "register",
        "release",
    ]


def test_the_other_commands_see_what_was_made(lived: tuple[Slipway, Finished]) -> None:
    slipway, _ = lived
    usage = slipway("store", "du", "--json").json()
    assert usage["bytes"] > 100_000
    shown = slipway("data", "show", "text", "--json").json()
    assert shown["kind"] == "corpus"
    planned = slipway("plan", "tiny", *FAST, "--json")
    assert planned.code == 0, planned.err
    document = planned.json()
    assert document["rate_source"].startswith("measured in pretrain-")
    assert document["tokens"] == 12 * 4 * 32
    assert document["seconds"] == pytest.approx(document["tokens"] / document["tokens_per_second"])
