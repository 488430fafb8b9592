"""llama.cpp itself beside us: it loads what we write, cuts a text into the same ids, and says the same."""

import json
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers, trainers

from llm.models.gguf import OutType, export_gguf
from llm.models.gguf_tokenizer import _SPLITS, _WHOLE_WORDS
from llm.models.hub import load_model
from llm.text.tokenizer import CONTROL, Tokenizer
from tests.llm.models.folders import FAMILIES, TEXTS, make_folder

PEER = os.environ.get("SLIPWAY_BENCH_PYTHON", "")
SAMPLES = [
    "the ship waits for the open sea",
    "  two spaces, a tab\tand\n\n\nlines \n",
    "it's 12345 o'clock; we'll SHE'LL 3.14",
    "Ünïcode: 日本語, naïve, 🚢⚓ and a \u00a0 space",
    "<|im_start|>not a marker<|endoftext|>",
    "",
]


@cache
def missing() -> str:
    if not PEER:
        return "SLIPWAY_BENCH_PYTHON names no interpreter with llama_cpp"
    done = subprocess.run([PEER, "-c", "import llama_cpp"], capture_output=True, text=True, check=False)
    return f"no llama_cpp in {PEER}: {done.stderr.strip().splitlines()[-1]}" if done.returncode else ""


pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing() or "it is there")]


def told_by_llama_cpp(folder: Path, outtype: OutType) -> dict[str, Any]:
    export_gguf(folder, folder / "out.gguf", outtype=outtype)
    (folder / "texts.json").write_text(json.dumps(SAMPLES))
    script = Path(__file__).with_name("llamacpp_peer.py")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    words = [PEER, str(script), str(folder / "out.gguf"), str(folder / "texts.json"), str(folder / "told.json")]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    told: dict[str, Any] = json.loads((folder / "told.json").read_text())
    return told


@pytest.mark.parametrize(("outtype", "tolerance"), [("f32", 2e-3), ("f16", 3e-2)])
@pytest.mark.parametrize("family", FAMILIES)
def test_llama_cpp_says_what_we_say(tmp_path: Path, family: str, outtype: OutType, tolerance: float) -> None:
    folder = make_folder(tmp_path / "m", family)
    told, model = told_by_llama_cpp(folder, outtype), load_model(folder)
    with torch.no_grad():
        ours = model(torch.arange(3, 43)[None])[0]
    assert (ours - torch.tensor(told["logits"])).abs().max() <= tolerance
    tokenizer = Tokenizer.load(folder)
    assert told["encoded"] == [tokenizer.encode(text) for text in SAMPLES]
    if outtype == "f32":
        ids = torch.arange(3, 13)[None]
        for _ in range(20):
            with torch.no_grad():
                ids = torch.cat((ids, model(ids)[:, -1:].argmax(-1)), dim=1)
        assert ids[0, 10:].tolist() == told["greedy"]


@pytest.mark.parametrize("expression", _SPLITS, ids=list(_SPLITS.values()))
def test_llama_cpp_cuts_a_text_as_llama_3_and_qwen_2_do(tmp_path: Path, expression: str) -> None:
    folder = make_folder(tmp_path / "m", "llama")
    inner = tokenizers.Tokenizer(models.BPE(ignore_merges=_SPLITS[expression] in _WHOLE_WORDS))
    split = pre_tokenizers.Split(tokenizers.Regex(expression), "isolated")
    inner.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    inner.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=370, special_tokens=list(CONTROL), initial_alphabet=alphabet, show_progress=False)
    inner.train_from_iterator([*TEXTS, *SAMPLES * 3], trainer)
    Tokenizer(inner).save(folder, context_length=64)
    told = told_by_llama_cpp(folder, "f32")
    assert told["metadata"]["tokenizer.ggml.pre"] == _SPLITS[expression]
    assert told["encoded"] == [Tokenizer.load(folder).encode(text) for text in SAMPLES]
    assert told["decoded"][:4] == SAMPLES[:4]


def test_llama_cpp_cuts_a_text_as_sentencepiece_does(tmp_path: Path, data_folder: Path) -> None:
    folder = make_folder(tmp_path / "m", "llama", rows=32_000)
    Tokenizer.load(data_folder / "mistral-spm-v1/tokenizer.model.v1").save(folder, context_length=64)
    told = told_by_llama_cpp(folder, "f16")
    assert told["metadata"]["tokenizer.ggml.model"] == "llama"
    assert told["encoded"] == [Tokenizer.load(folder).encode(text) for text in SAMPLES]
