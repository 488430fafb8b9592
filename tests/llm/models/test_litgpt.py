"""litgpt checkpoints: names and shapes as its classes have them, and back again without a bit lost."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from infra.store.errors import InputError
from llm.models.litgpt import read_checkpoint, write_checkpoint
from tests.llm.models.folders import LLAMA3_ROPE, make_folder

# By hand, from `litgpt.model.GPT(Config(...)).state_dict()` of 0.5.13: width 64, 4 heads of 16, 2 groups, hidden 96, 384 rows.
_LAYER = {
    "norm_1.weight": (64,),
    "attn.qkv.weight": (128, 64),
    "attn.proj.weight": (64, 64),
    "norm_2.weight": (64,),
    "mlp.fc_1.weight": (96, 64),
    "mlp.fc_2.weight": (96, 64),
    "mlp.proj.weight": (64, 96),
}
_OF_FAMILY: dict[str, dict[str, tuple[int, ...]]] = {
    "llama": {},
    "llama3": {},
    "mistral": {},
    "qwen2": {"attn.qkv.bias": (128,)},
    "qwen3": {
        "attn.qkv.weight": (256, 64),
        "attn.proj.weight": (64, 128),
        "attn.norm_q.weight": (32,),
        "attn.norm_k.weight": (32,),
    },
}


@pytest.mark.parametrize("family", _OF_FAMILY)
def test_a_checkpoint_has_litgpts_names_and_shapes(tmp_path: Path, family: str) -> None:
    target = tmp_path / "lit"
    target.mkdir()
    write_checkpoint(make_folder(tmp_path / "m", family), target, name="ship")
    state = torch.load(target / "lit_model.pth", weights_only=True)
    expected = {f"transformer.h.{n}.{name}": shape for n in range(2) for name, shape in (_LAYER | _OF_FAMILY[family]).items()}
    expected |= {"lm_head.weight": (384, 64), "transformer.wte.weight": (384, 64), "transformer.ln_f.weight": (64,)}
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == expected
    assert {"tokenizer.json", "tokenizer_config.json", "generation_config.json"} <= {path.name for path in target.iterdir()}


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("family", _OF_FAMILY)
def test_a_model_comes_back_from_litgpt_bit_for_bit(tmp_path: Path, family: str, tied: bool) -> None:
    folder = make_folder(tmp_path / "m", family, tied=tied, dtype=torch.bfloat16)
    (tmp_path / "lit").mkdir()
    (tmp_path / "back").mkdir()
    write_checkpoint(folder, tmp_path / "lit", name="ship")
    read_checkpoint(tmp_path / "lit", tmp_path / "back")
    before, after = load_file(folder / "model.safetensors"), load_file(tmp_path / "back/model.safetensors")
    assert {*before} == {*after}
    assert all(torch.equal(before[name], after[name]) and before[name].dtype == after[name].dtype for name in before)
    old, new = (json.loads((place / "config.json").read_text()) for place in (folder, tmp_path / "back"))
    assert new["rope_scaling"] == (LLAMA3_ROPE if family == "llama3" else None)
    same = set(old) - {"torch_dtype", "rope_scaling", "architectures", "model_type", "sliding_window"}
    assert {name: new[name] for name in same} == {name: old[name] for name in same}
    kind = "Llama" if family in ("llama3", "mistral") else family.capitalize()  # Mistral without a window is a Llama
    assert new["architectures"] == [f"{kind}ForCausalLM"]


def test_an_old_checkpoints_queries_keys_and_values_are_taken_apart_by_group(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m", "llama")
    (tmp_path / "lit").mkdir()
    (tmp_path / "back").mkdir()
    write_checkpoint(folder, tmp_path / "lit", name="ship")
    state = torch.load(tmp_path / "lit/lit_model.pth", weights_only=True)
    for layer in range(2):
        q, k, v = state.pop(f"transformer.h.{layer}.attn.qkv.weight").split((64, 32, 32))
        groups = [torch.cat((q[32 * g : 32 * g + 32], k[16 * g : 16 * g + 16], v[16 * g : 16 * g + 16])) for g in range(2)]
        state[f"transformer.h.{layer}.attn.attn.weight"] = torch.cat(groups)
    torch.save({"model": state}, tmp_path / "lit/lit_model.pth")
    read_checkpoint(tmp_path / "lit", tmp_path / "back")
    before, after = load_file(folder / "model.safetensors"), load_file(tmp_path / "back/model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


class Mischief:
    """What a pickle may do to who reads it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_a_checkpoint_that_would_run_code_is_refused_and_its_code_not_run(tmp_path: Path) -> None:
    (tmp_path / "lit").mkdir()
    write_checkpoint(make_folder(tmp_path / "m", "llama"), tmp_path / "lit", name="ship")
    mark = tmp_path / "mark"
    torch.save({"model": Mischief(mark)}, tmp_path / "lit/lit_model.pth")
    with pytest.raises(InputError, match="cannot be read as weights") as error:
        read_checkpoint(tmp_path / "lit", tmp_path)
    assert "run its code" in error.value.mend
    assert not mark.exists()
    pickle.loads(pickle.dumps(Mischief(mark)))  # it would have
    assert mark.exists()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"mlp_class_name": "GemmaMLP"}, "GemmaMLP"),
        ({"rotary_percentage": 0.25}, "rotary_percentage"),
        ({"n_expert": 8}, "n_expert=8"),
    ],
)
def test_a_checkpoint_of_another_family_is_refused_by_the_field(tmp_path: Path, change: dict[str, Any], what: str) -> None:
    (tmp_path / "lit").mkdir()
    write_checkpoint(make_folder(tmp_path / "m", "llama"), tmp_path / "lit", name="ship")
    path = tmp_path / "lit/model_config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | change))
    with pytest.raises(InputError, match=what):
        read_checkpoint(tmp_path / "lit", tmp_path)


def test_gpt2_is_refused_because_litgpt_has_no_learned_positions(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="GPT2LMHeadModel, which has learned positions"):
        write_checkpoint(make_folder(tmp_path / "m", "gpt2"), tmp_path, name="ship")
