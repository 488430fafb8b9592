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


def peer_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@cache
def missing() -> str:
    if not PEER:
        return "SLIPWAY_BENCH_PYTHON names no interpreter with llama_cpp"
    words = [PEER, "-c", "import llama_cpp"]
    done = subprocess.run(words, capture_output=True, text=True, env=peer_environment(), check=False)
    return f"no llama_cpp in {PEER}: {done.stderr.strip().splitlines()[-1]}" if done.returncode else ""


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(missing()), reason=missing() or "it is there"),
]
Told = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model of each family, and Llamas with other tokenizers."""
    top = tmp_path_factory.mktemp("gguf")
    made = {family: make_folder(top / family, family) for family in FAMILIES}
    for expression, name in _SPLITS.items():
        folder = made[f"cut as {name}"] = make_folder(top / f"cut-{name}", "llama")
        cutting(expression, whole_words=name in _WHOLE_WORDS).save(folder, context_length=64)
    return made


@pytest.fixture(scope="module")
def told(folders: dict[str, Path]) -> Told:
    """What llama.cpp says of each model, by its name and how it is stored; one process for all."""
    wanted: list[tuple[str, OutType]] = [(name, "f32") for name in folders]
    wanted += [(name, "f16") for name in FAMILIES]
    return by_llama_cpp({(name, outtype): folders[name] for name, outtype in wanted})


def by_llama_cpp(wanted: dict[tuple[str, OutType], Path]) -> Told:
    words: list[str] = []
    for (_, outtype), folder in wanted.items():
        export_gguf(folder, folder / f"{outtype}.gguf", outtype=outtype)
        words += [str(folder / f"{outtype}.gguf"), str(folder / f"{outtype}.json")]
    texts = Path(words[0]).parent / "texts.json"
    texts.write_text(json.dumps(SAMPLES))
    script = Path(__file__).with_name("llamacpp_peer.py")
    command = [PEER, str(script), str(texts), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=peer_environment(), check=False, timeout=800)
    assert done.returncode == 0, done.stderr[-2000:]
    return {key: json.loads((folder / f"{key[1]}.json").read_text()) for key, folder in wanted.items()}


def cutting(expression: str, *, whole_words: bool) -> Tokenizer:
    """A tokenizer that cuts a text by `expression` before it merges."""
    inner = tokenizers.Tokenizer(models.BPE(ignore_merges=whole_words))
    split = pre_tokenizers.Split(tokenizers.Regex(expression), "isolated")
    inner.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    inner.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=370, special_tokens=list(CONTROL), initial_alphabet=alphabet, show_progress=False)
    inner.train_from_iterator([*TEXTS, *SAMPLES * 3], trainer)
    return Tokenizer(inner)


@pytest.mark.parametrize("outtype", ["f32", "f16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_llama_cpp_says_what_we_say(folders: dict[str, Path], told: Told, family: str, outtype: OutType) -> None:
    said, model = told[family, outtype], load_model(folders[family])
    tolerance = 3e-2 if outtype == "f16" else 5e-3 if family == "gpt2" else 1e-4  # its GELU is a table in fp16
    ids = torch.arange(3, 13)[None]
    with torch.no_grad():
        assert (model(torch.arange(3, 43)[None])[0] - torch.tensor(said["logits"])).abs().max() <= tolerance
        for _ in range(20):
            ids = torch.cat((ids, model(ids)[:, -1:].argmax(-1)), dim=1)
    if outtype == "f32":
        assert ids[0, 10:].tolist() == said["greedy"]


@pytest.mark.parametrize(("name", "pre"), [("gpt2", "gpt-2"), *((f"cut as {name}", name) for name in _SPLITS.values())])
def test_llama_cpp_cuts_a_text_into_the_same_ids(folders: dict[str, Path], told: Told, name: str, pre: str) -> None:
    said, tokenizer = told[name, "f32"], Tokenizer.load(folders[name])
    assert said["metadata"]["tokenizer.ggml.pre"] == pre
    assert said["encoded"] == [tokenizer.encode(text) for text in SAMPLES]
    assert said["decoded"] == SAMPLES


def test_llama_cpp_cuts_a_text_as_sentencepiece_does(tmp_path: Path, data_folder: Path) -> None:
    folder = make_folder(tmp_path / "m", "llama", rows=32_000)
    tokenizer = Tokenizer.load(data_folder / "mistral-spm-v1/tokenizer.model.v1")
    tokenizer.save(folder, context_length=64)
    said = by_llama_cpp({("spm", "f16"): folder})["spm", "f16"]
    assert said["metadata"]["tokenizer.ggml.model"] == "llama"
    assert said["encoded"] == [tokenizer.encode(text) for text in SAMPLES]
