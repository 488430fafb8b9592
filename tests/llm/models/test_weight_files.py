"""Weights as files: what is joined is what was cut, and a file that is not whole is named."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from infra.store.errors import DamagedError, InputError
from llm.models.weight_files import INDEX, ONE, join, slots, weight_files


def cut(folder: Path, parts: int = 3) -> dict[str, torch.Tensor]:
    """A model of six tensors of three dtypes in so many shards."""
    torch.manual_seed(0)
    dtypes = (torch.float32, torch.bfloat16, torch.float16)
    tensors = {f"layer.{n}.weight": torch.randn(5 + n, 3).to(dtypes[n % 3]) for n in range(6)}
    shards: dict[str, dict[str, torch.Tensor]] = {}
    weight_map = {}
    for number, (name, tensor) in enumerate(tensors.items()):
        shard = f"model-{number % parts + 1:05}-of-{parts:05}.safetensors"
        shards.setdefault(shard, {})[name] = tensor
        weight_map[name] = shard
    folder.mkdir(exist_ok=True)
    for shard, held in shards.items():
        save_file(held, folder / shard)
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    return tensors


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_a_model_in_shards_becomes_the_same_file_however_it_was_cut(tmp_path: Path, parts: int) -> None:
    tensors = cut(tmp_path / "cut", parts)
    cut(tmp_path / "other", 2)
    join(tmp_path / "cut", tmp_path / ONE)
    join(tmp_path / "other", tmp_path / "other.safetensors")
    read = load_file(tmp_path / ONE)
    assert {*read} == {*tensors}
    assert all(read[name].dtype == tensor.dtype and torch.equal(read[name], tensor) for name, tensor in tensors.items())
    assert (tmp_path / ONE).read_bytes() == (tmp_path / "other.safetensors").read_bytes()


def test_a_file_that_was_cut_off_is_named_and_not_read(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1000)}, tmp_path / ONE)
    whole = (tmp_path / ONE).read_bytes()
    for length in (len(whole) - 1, 40, 5, 0):
        (tmp_path / ONE).write_bytes(whole[:length])
        with pytest.raises(DamagedError, match="cut off|not whole") as error:
            slots([tmp_path / ONE])
        assert error.value.where == str(tmp_path / ONE)


def test_an_index_cannot_name_a_file_outside_its_folder(tmp_path: Path) -> None:
    cut(tmp_path)
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a": "../secret.safetensors"}}))
    with pytest.raises(DamagedError, match="no file beside it"):
        weight_files(tmp_path)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    cut(tmp_path)
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(InputError, match="model-00002-of-00003.safetensors is missing"):
        weight_files(tmp_path)
