"""A large model comes in and goes out in shards, and is never held twice."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from infra.store.errors import DamagedError, InputError
from llm.models.hub import load_classifier, load_model, save_classifier, save_model
from tests.llm.models.peers import SPECIMENS, apart, read_by_transformers, theirs_of


@pytest.mark.parametrize("specimen", ["llama", "qwen3", "gpt2", "gpt2, untied"])
def test_shards_are_read_from_and_by_transformers(specimen: str, tmp_path: Path) -> None:
    theirs = theirs_of(specimen)
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size="20KB")
    ours = load_model(tmp_path / "theirs")
    assert apart(ours, theirs) < 1e-4
    save_model(ours, tmp_path / "ours", end_of_text=0, shard_bytes=20_000)
    index = json.loads((tmp_path / "ours/model.safetensors.index.json").read_text())
    names = sorted({*index["weight_map"].values()})
    assert len(names) > 2
    assert names == sorted(path.name for path in (tmp_path / "ours").glob("*.safetensors"))
    assert index["metadata"]["total_size"] == sum(parameter.nbytes for parameter in ours.parameters())
    assert all((tmp_path / "ours" / name).stat().st_size < 25_000 for name in names)
    assert apart(ours, read_by_transformers(tmp_path / "ours")) < 1e-4
    again = load_model(tmp_path / "ours").state_dict()
    assert all(torch.equal(weight, again[name]) for name, weight in ours.state_dict().items())


@torch.no_grad()
def test_a_model_can_be_written_over_the_folder_it_was_read_from(tmp_path: Path) -> None:
    theirs = theirs_of("gpt2")
    theirs.save_pretrained(tmp_path)
    model = load_model(tmp_path)
    for weight in model.parameters():
        weight.mul_(2)
    save_model(model, tmp_path, end_of_text=0)
    again = load_model(tmp_path).state_dict()
    assert all(torch.equal(weight, again[name]) for name, weight in model.state_dict().items())
    assert not list(tmp_path.glob(".*"))


def test_what_fits_into_one_file_is_one_file(tmp_path: Path) -> None:
    theirs_of("llama").save_pretrained(tmp_path / "theirs")
    save_model(load_model(tmp_path / "theirs"), tmp_path, end_of_text=0, shard_bytes=1_000_000)
    assert [path.name for path in tmp_path.glob("model*")] == ["model.safetensors"]


@torch.no_grad()
def test_a_classifier_is_written_in_shards_too(tmp_path: Path) -> None:
    theirs_of("gpt2", classifier=True).save_pretrained(tmp_path / "theirs")
    model = load_classifier(tmp_path / "theirs")
    save_classifier(model, tmp_path / "ours", end_of_text=0, shard_bytes=20_000)
    assert len(list((tmp_path / "ours").glob("*.safetensors"))) > 2
    ids, lengths = torch.arange(18).reshape(2, 9), torch.tensor([9, 4])
    assert torch.equal(load_classifier(tmp_path / "ours")(ids, lengths), model(ids, lengths))


def test_a_shard_that_is_missing_or_cut_is_named(tmp_path: Path) -> None:
    theirs_of("llama").save_pretrained(tmp_path, max_shard_size="20KB")
    shard = sorted(tmp_path.glob("*.safetensors"))[1]
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-100])
    with pytest.raises(DamagedError, match=shard.name):
        load_model(tmp_path)
    shard.unlink()
    with pytest.raises(InputError, match=shard.name):
        load_model(tmp_path)


PEAK = """
import sys, torch
from pathlib import Path
from llm.models.hub import load_model, save_model

def peak():  # MB that this process has held in memory at once, since it was asked last
    told = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    Path("/proc/self/clear_refs").write_text("5")
    return int(told["VmHWM"].split()[0]) / 1024
folder = Path(sys.argv[1])
load_model(folder / "tiny")
peak(); start = peak()
model = load_model(folder / "large")
with torch.no_grad():
    total = sum(float(weight.sum()) for weight in model.parameters())  # every page is read
loaded = peak() - start
save_model(model, folder / "again", end_of_text=0, shard_bytes=100_000_000)
print(loaded, peak() - start)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("specimen", ["llama", "gpt2"])
def test_a_large_model_is_loaded_and_written_without_being_held_twice(specimen: str, tmp_path: Path) -> None:
    theirs_of(specimen).save_pretrained(tmp_path / "tiny")
    family, _ = SPECIMENS[specimen]
    shape = (
        {"n_embd": 1024, "n_layer": 6, "n_head": 8, "vocab_size": 1000}
        if family == "gpt2"
        else {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 6, "num_attention_heads": 8, "vocab_size": 1000}
    )
    config = transformers.AutoConfig.for_model(family, **shape)
    kind: Any = transformers.AutoModelForCausalLM
    large = kind.from_config(config)
    large.save_pretrained(tmp_path / "large", max_shard_size="1GB")  # one file: all of it could be mapped at once
    size = sum(parameter.nbytes for parameter in large.parameters()) / 2**20
    assert size > 250
    done = subprocess.run([sys.executable, "-c", PEAK, str(tmp_path)], capture_output=True, text=True, check=True, timeout=200)
    loaded, written = map(float, done.stdout.split())
    assert size * 0.9 < loaded < size * 1.25
    assert size * 0.9 < written < size * 1.25
