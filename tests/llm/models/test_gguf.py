"""GGUF: what is written can be read back, tensor by tensor, and what llama.cpp would run otherwise is refused by name."""

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from infra.store.errors import InputError
from llm.models.gguf import OutType, export_gguf
from llm.models.gguf_tokenizer import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, read_vocabulary
from tests.llm.models.folders import FAMILIES, make_folder

# By hand, from llama.cpp's tables: what one layer of each family is called there.
_LLAMA = "attn_norm attn_q attn_k attn_v attn_output ffn_norm ffn_gate ffn_up ffn_down"
_LAYER = {
    "llama": _LLAMA,
    "llama3": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": f"{_LLAMA} attn_q_norm attn_k_norm",
    "gpt2": "attn_norm attn_qkv attn_output ffn_norm ffn_up ffn_down",
}


def exported(folder: Path, **options: Any) -> gguf.GGUFReader:
    target = folder / "out.gguf"
    export_gguf(folder, target, **options)
    return gguf.GGUFReader(target)


def values(reader: gguf.GGUFReader) -> dict[str, Any]:
    return {name: field.contents() for name, field in reader.fields.items()}


def tensor(reader: gguf.GGUFReader, name: str) -> Any:
    return next(each for each in reader.tensors if each.name == name)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_weight_is_there_under_the_name_llama_cpp_looks_for(tmp_path: Path, family: str) -> None:
    reader = exported(make_folder(tmp_path / "m", family), outtype="f32")
    found = {each.name for each in reader.tensors}
    expected = {f"blk.{layer}.{part}.weight" for layer in range(2) for part in _LAYER[family].split()}
    expected |= {"token_embd.weight", "output_norm.weight"}
    if family == "gpt2":
        expected |= {name.replace("weight", "bias") for name in expected if "token_embd" not in name} | {"position_embd.weight"}
    else:
        expected |= {"output.weight"}
    if family == "qwen2":
        expected |= {f"blk.{layer}.attn_{part}.bias" for layer in range(2) for part in "qkv"}
    if family == "llama3":
        expected |= {"rope_freqs.weight"}
    assert found == expected


def test_llamas_rotary_pairs_become_neighbours_and_qwens_stay_halves(tmp_path: Path) -> None:
    for family in ("llama", "qwen2"):
        folder = make_folder(tmp_path / family, family)
        theirs = load_file(folder / "model.safetensors")["model.layers.1.self_attn.k_proj.weight"]  # two heads of 16
        ours = torch.from_numpy(np.array(tensor(exported(folder, outtype="f32"), "blk.1.attn_k.weight").data))
        for head in range(2):
            for pair in range(8):
                row, next_row = (
                    (16 * head + 2 * pair, 16 * head + 2 * pair + 1)
                    if family == "llama"
                    else (16 * head + pair, 16 * head + pair + 8)
                )
                assert torch.equal(ours[row], theirs[16 * head + pair])
                assert torch.equal(ours[next_row], theirs[16 * head + pair + 8])


def test_gpt2s_matrices_are_turned_and_the_head_is_the_embedding(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m", "gpt2")
    reader, theirs = exported(folder, outtype="f32"), load_file(folder / "model.safetensors")
    assert np.array_equal(tensor(reader, "blk.0.attn_qkv.weight").data, theirs["transformer.h.0.attn.c_attn.weight"].numpy().T)
    assert np.array_equal(tensor(reader, "blk.0.ffn_down.weight").data, theirs["transformer.h.0.mlp.c_proj.weight"].numpy().T)


@pytest.mark.parametrize(("outtype", "kind"), [("f16", "F16"), ("bf16", "BF16"), ("f32", "F32")])
def test_matrices_are_stored_as_asked_and_norms_in_fp32(tmp_path: Path, outtype: OutType, kind: str) -> None:
    folder = make_folder(tmp_path / "m", "llama", dtype=torch.bfloat16)
    reader, theirs = exported(folder, outtype=outtype), load_file(folder / "model.safetensors")
    up, norm = tensor(reader, "blk.0.ffn_up.weight"), tensor(reader, "output_norm.weight")
    assert (up.tensor_type.name, norm.tensor_type.name) == (kind, "F32")
    restored = torch.from_numpy(np.array(gguf.dequantize(up.data, up.tensor_type)))
    error = (restored - theirs["model.layers.0.mlp.up_proj.weight"].float()).abs().max()
    assert error <= (2**-12 if outtype == "f16" else 0)
    assert np.array_equal(norm.data, theirs["model.norm.weight"].float().numpy())


def test_the_shape_and_the_tokenizer_are_told(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m", "qwen3")
    told = values(exported(folder, name="ship", licence="apache-2.0"))
    expected = {
        "general.architecture": "qwen3",
        "general.name": "ship",
        "general.license": "apache-2.0",
        "general.file_type": 1,
        "qwen3.block_count": 2,
        "qwen3.context_length": 64,
        "qwen3.embedding_length": 64,
        "qwen3.feed_forward_length": 96,
        "qwen3.attention.head_count": 4,
        "qwen3.attention.head_count_kv": 2,
        "qwen3.attention.key_length": 32,
        "qwen3.rope.freq_base": 50_000.0,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.eot_token_id": 2,
        "tokenizer.ggml.add_bos_token": False,
    }
    assert {name: told[name] for name in expected} == expected
    told_tokens = json.loads((folder / "tokenizer.json").read_text())["model"]
    tokens = told["tokenizer.ggml.tokens"]
    assert len(tokens) == 384
    assert all(tokens[number] == token for token, number in told_tokens["vocab"].items())
    assert tokens[383] == "[PAD383]"
    assert told["tokenizer.ggml.token_type"][0] == CONTROL
    assert told["tokenizer.ggml.token_type"][383] == UNUSED
    assert told["tokenizer.ggml.merges"] == [
        merge if isinstance(merge, str) else " ".join(merge) for merge in told_tokens["merges"]
    ]


def test_llama_3s_scaling_is_a_factor_for_every_frequency(tmp_path: Path) -> None:
    factors = tensor(exported(make_folder(tmp_path / "m", "llama3")), "rope_freqs.weight").data
    assert factors[0] == 1  # turns often within the 32 positions of pretraining: kept
    assert factors[-1] == 8  # turns less than once: slowed by the whole factor
    assert all(1 < factors[at] <= 8 for at in range(2, 8))


def test_a_sentencepiece_tokenizer_becomes_one(tmp_path: Path) -> None:
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2, "<0x0A>": 3, "▁": 4, "a": 5, "b": 6, "ab": 7, "▁ab": 8}
    told = {
        "model": {"type": "BPE", "vocab": vocab, "merges": [["a", "b"], ["▁", "ab"]], "byte_fallback": True, "unk_token": "<unk>"},
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            ],
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "added_tokens": [
            {
                "id": number,
                "content": token,
                "special": True,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
            }
            for number, token in enumerate(("<unk>", "<s>", "</s>"))
        ],
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(told))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}))
    found = read_vocabulary(tmp_path, 10)
    assert (found.kind, found.add_bos, found.space_prefix) == ("llama", True, True)
    assert list(found.types) == [UNKNOWN, CONTROL, CONTROL, BYTE, NORMAL, NORMAL, NORMAL, NORMAL, NORMAL, UNUSED]
    assert found.scores[7] > found.scores[8] > found.scores[5]
    assert found.ids == {"bos": 1, "eos": 2, "unk": 0}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"architectures": ["LlamaForSequenceClassification"]}, "a classifier"),
        ({"architectures": ["GemmaForCausalLM"]}, "GemmaForCausalLM"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "yarn"),
        ({"attention_bias": True}, "biases"),
        ({"vocab_size": 200}, "the model 200"),
    ],
)
def test_what_llama_cpp_has_no_place_for_is_refused_by_name(tmp_path: Path, change: dict[str, Any], what: str) -> None:
    folder = make_folder(tmp_path / "m", "llama")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(InputError, match=what):
        export_gguf(folder, tmp_path / "out.gguf")


def test_a_value_that_fp16_cannot_hold_is_refused_and_bf16_takes_it(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m", "llama", dtype=torch.bfloat16)
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"][0, 0] = 1e6
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"blk.0.ffn_up.weight.*fp16") as error:
        export_gguf(folder, tmp_path / "out.gguf")
    assert "bf16" in error.value.mend
    export_gguf(folder, tmp_path / "out.gguf", outtype="bf16")
