"""litgpt itself beside us, both ways: the same logits, the same greedy answer. Its environment is one of its own."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from llm.models.hub import load_model
from llm.models.litgpt import read_checkpoint, write_checkpoint
from tests.llm.models.folders import make_folder

PEER = os.environ.get("SLIPWAY_BENCH_PYTHON", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PEER, reason="SLIPWAY_BENCH_PYTHON names no interpreter with litgpt (the `bench` extra)"),
]
FAMILIES = ("llama", "llama3", "mistral", "qwen2", "qwen3")


def peer(*words: object) -> None:
    script = Path(__file__).with_name("litgpt_peer.py")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [PEER, script, *map(str, words)], capture_output=True, text=True, env=environment, check=False, timeout=280
    )
    assert done.returncode == 0, done.stderr[-2000:]


def same(folder: Path, told: dict[str, Any]) -> None:
    """Logits within 1e-4, and the same ids where the best is not by a hair."""
    model = load_model(folder)
    with torch.no_grad():
        assert torch.allclose(model(torch.arange(40)[None])[0], torch.tensor(told["logits"]), atol=1e-4, rtol=1e-4)
        ids = torch.arange(10)[None]
        for _ in range(20):
            ids = torch.cat((ids, model(ids)[:, -1:].argmax(-1)), dim=1)
    assert ids[0].tolist() == told["greedy"]


@pytest.mark.parametrize("family", FAMILIES)
def test_litgpt_says_what_we_say_of_a_model_that_we_exported(tmp_path: Path, family: str) -> None:
    folder = make_folder(tmp_path / "m", family)
    (tmp_path / "lit").mkdir()
    write_checkpoint(folder, tmp_path / "lit", name="ship")
    peer("load", tmp_path / "lit", tmp_path / "told.json")
    same(folder, json.loads((tmp_path / "told.json").read_text()))


@pytest.mark.parametrize("family", FAMILIES)
def test_we_say_what_litgpt_says_of_a_checkpoint_that_it_wrote(tmp_path: Path, family: str) -> None:
    (tmp_path / "lit").mkdir()
    (tmp_path / "back").mkdir()
    peer("make", family, tmp_path / "lit", tmp_path / "told.json")
    read_checkpoint(tmp_path / "lit", tmp_path / "back")
    same(tmp_path / "back", json.loads((tmp_path / "told.json").read_text()))
