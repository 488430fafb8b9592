"""From questions and answers to a registered assistant with one command; a bad row stops it before anything starts."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.e2e.conftest import FAST, Finished, Slipway

INSTRUCT = [
    "run",
    "finetune-instruct",
    "--set=data.path=text.txt",
    *FAST,
    "--set=training.sequence_length=64",
    "--set=instruct.data.path=mine.jsonl",
    "--set=instruct.data.on_invalid=drop",
    "--set=instruct.data.test_share=0.2",
    "--set=instruct.training.steps=240",
    "--set=instruct.training.batch_size=8",
    "--set=instruct.training.learning_rate=0.004",
    "--set=instruct.training.validate_every=80",
    "--set=instruct.training.checkpoint_every=100",
    "--set=instruct.evaluation.answers=8",
    "--set=instruct.name=helper",
]
PARITY = """
import json, sys, torch
from pathlib import Path
from transformers import AutoModelForCausalLM, AutoTokenizer
from llm.models.assistant import load_assistant
from llm.serving.sampling import generate
folder = Path(sys.argv[1])
ours = load_assistant(folder)
model, tokenizer = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), AutoTokenizer.from_pretrained(folder)
chat = [{"role": "user", "content": "Where is the lamp?"}]
ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
assert ids == ours.chats.prompt_ids(chat)
theirs = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), max_length=64, do_sample=False)[0, len(ids):]
mine = list(generate(ours.model, ids, max_new_tokens=40, temperature=0, stop=ours.chats.stop, vocabulary=ours.chats.tokenizer.size))
print(json.dumps({"ours": mine, "theirs": theirs.tolist(), "end": ours.chats.end}))
"""
LOAD = """
import json, sys, mlflow, pandas
model = mlflow.pyfunc.load_model(sys.argv[1])
asked = ["Where is the lamp?", "Where is the rope?"]
chats = [[{"role": "user", "content": question}] for question in asked]
table = pandas.DataFrame({"question": asked})
print(json.dumps([list(model.predict(given)) for given in (asked, chats, table)]))
"""


def mine(path: Path) -> None:
    """Where things are: 120 questions, of which one has no answer and six come twice."""
    things = ["lamp", "rope", "map", "ship", "bell", "sail"]
    rows = [
        {"instruction": f"Where is the {things[n % 6]} {n // 6}?", "output": f"The {things[n % 6]} is at the quay by the sea now."}
        for n in range(114)
    ]
    rows += [*rows[:6], {"instruction": "And then?", "output": " "}]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")


@pytest.fixture(scope="module")
def finetuned(tmp_path_factory: pytest.TempPathFactory, text: Callable[[Path], Path]) -> Iterator[tuple[Slipway, Finished]]:
    """A home in which an assistant was made once."""
    root = tmp_path_factory.mktemp("instruct")
    slipway = Slipway(root / "home", root / "work")
    text(slipway.folder / "text.txt")
    mine(slipway.folder / "mine.jsonl")
    first = slipway(*INSTRUCT, "--json")
    assert first.code == 0, first.err
    yield slipway, first


def results(done: Finished) -> dict[str, Any]:
    return {stage["stage"]: stage["result"] for stage in done.json()["stages"]}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_document_holds_what_programs_rely_on(finetuned: tuple[Slipway, Finished]) -> None:
    slipway, done = finetuned
    stages = results(done)
    assert list(stages) == [
        "validate-data",
        "prepare-data",
        "pretrain",
        "prepare-instructions",
        "finetune-instruct",
        "evaluate-assistant",
        "register",
    ]
    document = done.json()
    assert document["model"] == "models:/helper/1"
    assert document["run_id"].startswith("finetune-instruct-")
    assert 0 < document["metrics"]["val_bits_per_byte"] < 2
    counted = {"rows": 114, "test_rows": 23, "invalid": 1, "duplicates": 6, "seen": 0, "expectations": 19}
    assert stages["prepare-instructions"] == {**counted, "source_path": str(slipway.folder / "mine.jsonl")}
    assert (stages["finetune-instruct"]["chats"], stages["finetune-instruct"]["left_out"]) == (85, 0)
    measured = stages["evaluate-assistant"]
    assert measured["bits_per_byte"]["model"]["value"] < measured["bits_per_byte"]["base"]["value"] / 2
    assert measured["choice"]["answer"]["value"] > 0.6
    assert [(gate["name"], gate["passed"]) for gate in measured["gates"]] == [
        ("likelier answers than before finetuning", True),
        ("answers end by themselves", True),
    ]
    table = pq.read_table(document["metrics_file"]).to_pylist()
    assert [row["step"] for row in table if row["validation_bits_per_byte"] is not None] == [80, 160, 240]
    assert "left out: 1 empty answer; 6 that repeat an earlier one" in done.err
    assert "  test: 23 questions with answers" in slipway("data", "show", "mine-instructions").out


@pytest.mark.slow
def test_the_evidence_says_what_kind_it_is_and_how_the_assistant_answers(finetuned: tuple[Slipway, Finished]) -> None:
    slipway, _ = finetuned
    evidence = json.loads(next(slipway.home.glob("store/runs/evaluate-assistant-*/artifacts/evidence/evidence.json")).read_text())
    assert (evidence["format"], evidence["kind"], evidence["headline"]["name"]) == (1, "assistant", "bits per byte of answers")
    assert evidence["headline"]["value"] == evidence["bits_per_byte"]["model"]["value"]
    assert evidence["dataset"]["rows"] == 23
    assert (evidence["ends_by_itself"]["n"], evidence["ends_by_itself"]["min_words"]) == (8, 8)
    assert evidence["gained"]["high"] < 0
    assert len(evidence["prompts_sha256"]) == 8
    assert len(evidence["golden"]) == 4
    for golden in evidence["golden"]:
        assert (golden["kind"], golden["max_tokens"]) == ("chat", 16)
        assert golden["messages"][0]["content"].startswith("Where is the ")
        assert golden["text"].startswith("The ")
    shown = slipway("models", "show", "models:/helper/1", "--json").json()
    assert (shown["tags"]["kind"], shown["tags"]["gates"]) == ("assistant", "passed")
    assert shown["tags"]["headline"].endswith(" bits per byte of answers")
    assert "## What it answers" in shown["description"]


@pytest.mark.slow
def test_transformers_and_mlflow_answer_as_we_do_and_stop_where_we_do(finetuned: tuple[Slipway, Finished]) -> None:
    slipway, _ = finetuned
    package = next(slipway.home.glob("store/runs/finetune-instruct-*/artifacts/package"))
    env = slipway.env(MLFLOW_TRACKING_URI=f"sqlite:///{slipway.home}/mlflow.db")
    parity = subprocess.run([sys.executable, "-c", PARITY, str(package)], env=env, capture_output=True, text=True, check=False)
    assert parity.returncode == 0, parity.stderr
    said = json.loads(parity.stdout.splitlines()[-1])
    assert said["theirs"] == [*said["ours"], said["end"]]  # theirs show the stop token, and stop there
    settings = json.loads((package / "generation_config.json").read_text())
    assert len(settings["eos_token_id"]) == 2
    lineage = json.loads((package / "lineage.json").read_text())
    assert lineage["sources"][0]["name"] == "mine.jsonl"
    assert lineage["base_run"].startswith("runs/pretrain-")
    loaded = subprocess.run([sys.executable, "-c", LOAD, "models:/helper/1"], env=env, capture_output=True, text=True, check=False)
    assert loaded.returncode == 0, loaded.stderr
    asked, chats, table = json.loads(loaded.stdout.splitlines()[-1])
    assert asked == chats == table
    assert all(text.startswith("The ") and text.endswith(".") for text in asked)


@pytest.mark.slow
def test_a_second_run_reuses_everything_and_an_assistant_is_a_base_too(finetuned: tuple[Slipway, Finished]) -> None:
    slipway, _ = finetuned
    again = slipway(*INSTRUCT, "--json").json()
    assert {stage["state"] for stage in again["stages"]} == {"reused"}
    more = slipway(*INSTRUCT, "--set=base=models:/helper/1", "--set=instruct.training.steps=4", "--json")
    assert more.code == 0, more.err
    assert next(stage["stage"] for stage in more.json()["stages"]) == "prepare-instructions"
    assert more.json()["model"] == "models:/helper/2"


def test_bad_rows_and_settings_are_named_before_anything_starts(slipway: Slipway, text: Callable[[Path], Path]) -> None:
    text(slipway.folder / "text.txt")
    rows = ['{"instruction": "a", "output": "b"}'] * 3
    (slipway.folder / "bad.jsonl").write_text("\n".join([*rows, '{"instruction": "a", "output": ""}']))
    bad = {
        "instruct.data.path=bad.jsonl": "bad.jsonl, line 4",
        "instruct.data.path=none.jsonl": "none.jsonl",
        "instruct.data.path=": "instruct.data.path is empty",
        "instruct.evaluation.answers=0": "instruct.evaluation.answers",
        "instruct.training.epochs=0": "instruct.training.epochs",
    }
    for setting, names in bad.items():
        refused = slipway("run", "finetune-instruct", "--set=data.path=text.txt", *FAST, f"--set={setting}", "--json")
        assert refused.code == 2, refused.err
        error = refused.json()["error"]
        assert names in error["where"] + error["what"]
        assert error["mend"]
    assert not slipway.home.exists()
