"""From labelled texts to a registered classifier with one command; a bad row stops it before anything starts."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.e2e.conftest import FAST, Finished, Slipway

CLASSIFY = [
    "run",
    "finetune-classify",
    "--set=data.path=text.txt",
    *FAST,
    "--set=classify.data.path=ships.jsonl",
    "--set=classify.training.steps=120",
    "--set=classify.training.batch_size=8",
    "--set=classify.training.max_length=32",
    "--set=classify.training.learning_rate=0.003",
    "--set=classify.training.validate_every=30",
    "--set=classify.training.checkpoint_every=50",
    "--set=classify.name=ships",
]
PARITY = """
import json, sys, torch
from pathlib import Path
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from llm.models.classifier import encode_all
from llm.models.hub import load_classifier
from llm.text.tokenizer import Tokenizer
from llm.data.examples import padded
folder = Path(sys.argv[1])
ours, theirs = load_classifier(folder), AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
rows = encode_all(Tokenizer.load(folder), ["The ship leaves at dawn", "Rain", "A cold wind blows over the quay all night"], 32)
lengths = torch.tensor([len(row) for row in rows])
ids = padded(rows, fill=theirs.config.pad_token_id)
mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
with torch.no_grad():
    print(float((ours(ids, lengths) - theirs(input_ids=ids, attention_mask=mask).logits).abs().max()), theirs.config.id2label)
"""
LOAD = """
import json, sys, mlflow
model = mlflow.pyfunc.load_model(sys.argv[1])
print(json.dumps(model.predict(["the ship 7 is at sea", "rain 9 over the land"], params=None)))
"""


def ships(path: Path, rows: int = 120) -> None:
    """Sentences about ships and about weather, told apart by their first words; every fourth repeats the one before it."""
    lines = []
    for number in range(rows):
        of = number - (number % 4 == 3)
        label = ("ship", "weather")[of // 4 % 2]
        text = f"the ship {of} is at sea" if label == "ship" else f"rain {of} over the land"
        lines.append(json.dumps({"text": text, "label": label}))
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def finetuned(tmp_path_factory: pytest.TempPathFactory, text: Callable[[Path], Path]) -> Iterator[tuple[Slipway, Finished]]:
    """A home in which a classifier was finetuned once."""
    root = tmp_path_factory.mktemp("classify")
    slipway = Slipway(root / "home", root / "work")
    text(slipway.folder / "text.txt")
    ships(slipway.folder / "ships.jsonl")
    first = slipway(*CLASSIFY, "--json")
    assert first.code == 0, first.err
    yield slipway, first


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_document_holds_what_programs_rely_on(finetuned: tuple[Slipway, Finished]) -> None:
    document = finetuned[1].json()
    stages = {stage["stage"]: stage["result"] for stage in document["stages"]}
    assert list(stages) == [
        "validate-data",
        "prepare-data",
        "pretrain",
        "prepare-classification",
        "finetune-classify",
        "evaluate-classifier",
        "register",
    ]
    assert document["model"] == "models:/ships/1"
    assert document["run_id"].startswith("finetune-classify-")
    assert document["metrics"]["val_accuracy"] == 1.0
    assert stages["prepare-classification"] == {
        "rows": 90,
        "labels": 2,
        "test_rows": 9,
        "invalid": 0,
        "duplicates": 30,
        "conflicts": 0,
        "expectations": 21,
        "source_path": str(finetuned[0].folder / "ships.jsonl"),
    }
    judged = stages["evaluate-classifier"]
    assert judged["accuracy"]["value"] == 1.0
    assert judged["majority_accuracy"] < 0.9
    assert [gate["passed"] for gate in judged["gates"]] == [True]
    assert Path(judged["confusion_matrix"]).read_bytes().startswith(b"\x89PNG")
    table = pq.read_table(document["metrics_file"]).to_pylist()
    assert [row["step"] for row in table if row["validation_accuracy"] is not None] == [30, 60, 90, 120]


@pytest.mark.slow
def test_the_evidence_says_what_kind_it_is_and_how_the_classifier_answers(finetuned: tuple[Slipway, Finished]) -> None:
    slipway, _ = finetuned
    evidence = json.loads(next(slipway.home.glob("store/runs/evaluate-classifier-*/artifacts/evidence/evidence.json")).read_text())
    assert (evidence["kind"], evidence["headline"]) == ("classifier", {"name": "accuracy", "value": 1.0})
    assert len(evidence["golden"]) == 4
    for answer in evidence["golden"]:
        assert answer["kind"] == "classification"
        assert answer["label"] == ("ship" if answer["input"].startswith("the ship") else "weather")
        assert 0.5 < answer["probability"] <= 1
    tags = slipway("models", "show", "models:/ships/1", "--json").json()["tags"]
    assert (tags["kind"], tags["headline"], tags["gates"]) == ("classifier", "1.0000 accuracy", "passed")
    assert "bits_per_byte" not in tags
    assert "  test: 9 texts (ship 6, weather 3)" in slipway("data", "show", "ships-classification").out


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_rows_at_the_source_are_read_again_and_a_change_is_told(finetuned: tuple[Slipway, Finished]) -> None:
    slipway, rows = finetuned[0], finetuned[0].folder / "ships.jsonl"
    before = rows.read_bytes()

    def notes() -> list[str]:
        done = slipway("explain", "models:/ships/1", "--verify", "--json")
        assert done.code == 0, done.out
        return [note for each in done.json()["verification"]["checked"] for note in each["notes"]]

    assert not [note for note in notes() if "at the source" in note or "not read again" in note]
    rows.write_bytes(before + b"\n")
    try:
        assert "at the source, 1 of 1 files changed since they were read, such as ships.jsonl" in notes()
    finally:
        rows.write_bytes(before)


@pytest.mark.slow
def test_transformers_and_mlflow_load_the_package(finetuned: tuple[Slipway, Finished]) -> None:
    slipway, _ = finetuned
    package = next(slipway.home.glob("store/runs/finetune-classify-*/artifacts/package"))
    env = slipway.env(MLFLOW_TRACKING_URI=f"sqlite:///{slipway.home}/mlflow.db")
    parity = subprocess.run([sys.executable, "-c", PARITY, str(package)], env=env, capture_output=True, text=True, check=False)
    assert parity.returncode == 0, parity.stderr
    apart, _, labels = parity.stdout.strip().partition(" ")
    assert float(apart) < 1e-4
    assert labels == "{0: 'ship', 1: 'weather'}"
    lineage = json.loads((package / "lineage.json").read_text())
    assert lineage["sources"][0]["name"] == "ships.jsonl"
    assert lineage["base_run"].startswith("runs/pretrain-")
    loaded = subprocess.run([sys.executable, "-c", LOAD, "models:/ships/1"], env=env, capture_output=True, text=True, check=False)
    assert loaded.returncode == 0, loaded.stderr
    assert json.loads(loaded.stdout.splitlines()[-1]) == ["ship", "weather"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_adapters_survive_a_kill_and_are_merged_into_the_package(finetuned: tuple[Slipway, Finished]) -> None:
    slipway, _ = finetuned
    lora = [*CLASSIFY, "--set=classify.training.lora.rank=4", "--set=classify.training.checkpoint_every=10", "--json"]
    before = set(slipway.home.glob("store/runs/finetune-classify-*/checkpoints/*/manifest.json"))
    process = slipway.start(*lora)
    deadline = time.monotonic() + 300
    while set(slipway.home.glob("store/runs/finetune-classify-*/checkpoints/*/manifest.json")) <= before:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)
    process.kill()
    process.communicate()
    resumed = slipway(*lora)
    assert resumed.code == 0, resumed.err
    assert resumed.json()["resumed_from"] >= 10
    assert "adapters of rank 4: " in resumed.err
    undisturbed = slipway(*lora, "--force", "finetune-classify")
    assert undisturbed.json()["resumed_from"] is None
    columns = [pq.read_table(each.json()["metrics_file"])["loss"].to_pylist() for each in (resumed, undisturbed)]
    assert columns[0] == columns[1]
    package = slipway.home / "store" / "runs" / resumed.json()["run_id"] / "artifacts" / "package"
    argv = [sys.executable, "-c", PARITY, str(package)]
    parity = subprocess.run(argv, env=slipway.env(), capture_output=True, text=True, check=False)
    assert parity.returncode == 0, parity.stderr
    assert float(parity.stdout.split()[0]) < 1e-4
    assert json.loads((package / "lineage.json").read_text())["adapters"] == "rank 4, alpha 16"


@pytest.mark.slow
def test_a_second_run_reuses_everything_and_a_registered_base_skips_pretraining(finetuned: tuple[Slipway, Finished]) -> None:
    slipway, first = finetuned
    again = slipway(*CLASSIFY, "--json")
    assert {stage["state"] for stage in again.json()["stages"]} == {"reused"}
    assert again.json()["model"] == first.json()["model"]
    package = next(slipway.home.glob("store/runs/pretrain-*/artifacts/package"))
    plan = slipway(*CLASSIFY, f"--set=base={package}", "--plan", "--json").json()
    assert [(stage["stage"], stage["state"]) for stage in plan["stages"]] == [
        ("prepare-classification", "reused"),
        ("finetune-classify", "reused"),
        ("evaluate-classifier", "reused"),
        ("register", "reused"),
    ]
    classifier = next(slipway.home.glob("store/runs/finetune-classify-*/artifacts/package"))
    refused = slipway(*CLASSIFY, f"--set=base={classifier}", "--json")
    assert refused.code == 2
    assert "a classifier, not a model that continues text" in refused.json()["error"]["what"]


def test_bad_rows_are_named_before_anything_starts(slipway: Slipway, text: Callable[[Path], Path]) -> None:
    text(slipway.folder / "text.txt")
    words = ["run", "finetune-classify", "--set=data.path=text.txt", *FAST, "--set=classify.data.path=bad.jsonl", "--json"]
    for content, named in {
        '{"text": "a", "label": "x"}\n{"text": 3, "label": "x"}\n': "bad.jsonl, line 2",
        '{"text": "a"}\n{"text": "b"}\n': "no column was found for the label",
        "": "it holds no rows",
    }.items():
        (slipway.folder / "bad.jsonl").write_text(content)
        refused = slipway(*words)
        assert refused.code == 2, refused.err
        error = refused.json()["error"]
        assert named in error["where"] + error["what"]
        assert error["mend"]
    assert not slipway.home.exists()
