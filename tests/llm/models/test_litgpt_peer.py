"""litgpt itself beside us, both ways: the same logits, the same greedy answer. Its environment is one of its own."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

from llm.models.hub import load_model
from llm.models.litgpt import read_checkpoint, write_checkpoint
from tests.llm.models.folders import make_folder

PEER = os.environ.get("SLIPWAY_BENCH_PYTHON", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not PEER, reason="SLIPWAY_BENCH_PYTHON names no interpreter with litgpt (the `bench` extra)"),
]
FAMILIES = ("llama", "llama3", "mistral", "qwen2", "qwen3")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of each family a model, our checkpoint of it with litgpt's word on it, and one of litgpt's own; one process for all."""
    top = tmp_path_factory.mktemp("litgpt")
    for family in FAMILIES:
        (top / family / "ours").mkdir(parents=True)
        write_checkpoint(make_folder(top / family / "model", family), top / family / "ours", name="ship")
    script = Path(__file__).with_name("litgpt_peer.py")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([PEER, script, top], capture_output=True, text=True, env=environment, check=False, timeout=800)
    assert done.returncode == 0, done.stderr[-2000:]
    return top


def same(folder: Path, told: Path) -> None:
    """Logits within 1e-4, and the same ids."""
    model, said = load_model(folder), json.loads(told.read_text())
    ids = torch.arange(10)[None]
    with torch.no_grad():
        assert (model(torch.arange(40)[None])[0] - torch.tensor(said["logits"])).abs().max() <= 1e-4
        for _ in range(20):
            ids = torch.cat((ids, model(ids)[:, -1:].argmax(-1)), dim=1)
    assert ids[0].tolist() == said["greedy"]


@pytest.mark.parametrize("family", FAMILIES)
def test_litgpt_says_what_we_say_of_a_model_that_we_exported(folder: Path, family: str) -> None:
    same(folder / family / "model", folder / family / "ours.json")


@pytest.mark.parametrize("family", FAMILIES)
def test_we_say_what_litgpt_says_of_a_checkpoint_that_it_wrote(folder: Path, tmp_path: Path, family: str) -> None:
    read_checkpoint(folder / family / "theirs", tmp_path)
    same(tmp_path, folder / family / "theirs.json")
