"""A Hugging Face folder -> the one file that llama.cpp loads. Weights go through one at a time.

Names, the layout of rotary heads and the keys are llama.cpp's (its `gguf` package and `convert_hf_to_gguf.py`, MIT).
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from infra.store.errors import InputError
from llm.models.gguf_tokenizer import Vocabulary, read_vocabulary
from llm.models.weight_files import slots, weight_files

if TYPE_CHECKING:
    from gguf import GGUFWriter

OutType = Literal["f16", "bf16", "f32"]
_FAMILIES: Final = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "GPT2LMHeadModel": "gpt2",
}
_DTYPES: Final[dict[OutType, torch.dtype]] = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
_FILE_TYPES: Final[dict[OutType, int]] = {"f32": 0, "f16": 1, "bf16": 32}  # llama.cpp's llama_ftype
_LLAMA_PARTS: Final = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_GPT2_PARTS: Final = {
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
_TOP: Final = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "wte": "token_embd",
    "wpe": "position_embd",
    "ln_f": "output_norm",
}
_GELU: Final = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast")  # three ways to write one function
_ALWAYS_F32: Final = ("position_embd.weight", "rope_freqs.weight")


@dataclass(frozen=True)
class _Weight:
    """One tensor of the file: what it is called, and how it is made when its turn comes."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    make: Callable[[], Tensor]


def export_gguf(folder: Path, target: Path, *, outtype: OutType = "f16", name: str = "", licence: str = "") -> None:
    """Writes `target`; matrices in `outtype`, norms and biases in fp32. Raises InputError for what llama.cpp has no place for."""
    import gguf  # who exports nothing does without

    config = _read_config(folder)
    family = _family(config, folder)
    rows = int(config["vocab_size"])
    vocabulary = read_vocabulary(folder, rows)
    weights = [*_weights(folder, config, family, _DTYPES[outtype]), *_rope_factors(config)]
    writer = gguf.GGUFWriter(target, family)
    writer.add_name(name or folder.name)
    writer.add_file_type(_FILE_TYPES[outtype])
    if licence:
        writer.add_license(licence)
    _add_shape(writer, config, family)
    _add_vocabulary(writer, vocabulary)
    kinds = {torch.float32: np.float32, torch.float16: np.float16, torch.bfloat16: np.uint16}
    for each in weights:
        raw = gguf.GGMLQuantizationType.BF16 if each.dtype == torch.bfloat16 else None
        size = math.prod(each.shape) * each.dtype.itemsize
        writer.add_tensor_info(each.name, each.shape, np.dtype(kinds[each.dtype]), size, raw_dtype=raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for each in weights:
        writer.write_tensor_data(_array(each, folder))
    writer.close()


def _family(config: Mapping[str, Any], folder: Path) -> str:
    architecture = (config.get("architectures") or [""])[0]
    where = str(folder / "config.json")
    if architecture.endswith("ForSequenceClassification"):
        raise InputError("a classifier: llama.cpp has no place for its labels", where=where, mend="Export it with --format hf.")
    if architecture not in _FAMILIES:
        known = ", ".join(_FAMILIES)
        raise InputError(
            f"{architecture or 'no architecture'} cannot be written as GGUF here", where=where, mend=f"Known are {known}."
        )
    if config.get("attention_bias") and _FAMILIES[architecture] in ("llama", "qwen3"):
        raise InputError(
            "attention with biases of its own cannot be written as GGUF here", where=where, mend="Export with --format hf."
        )
    if _FAMILIES[architecture] == "gpt2" and config.get("activation_function", "gelu_new") not in _GELU:
        what = f"activation_function={config['activation_function']!r}: llama.cpp computes GPT-2 with gelu_new"
        raise InputError(what, where=where, mend="Export with --format hf.")
    return _FAMILIES[architecture]


def _weights(folder: Path, config: Mapping[str, Any], family: str, dtype: torch.dtype) -> Iterator[_Weight]:
    found = slots(weight_files(folder))
    tied = config.get("tie_word_embeddings", family == "gpt2")
    for theirs in sorted(found):
        plain = theirs.removeprefix("transformer.") if family == "gpt2" else theirs
        ours = _renamed(plain, family)
        if not ours or (tied and ours == "output.weight"):
            continue
        path, shape = found[theirs].path, found[theirs].shape
        turn = family == "gpt2" and plain.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight"))
        heads = _rotary_heads(plain, config) if family == "llama" else 0
        kept = len(shape) == 1 or ours in _ALWAYS_F32
        yield _Weight(
            ours,
            tuple(reversed(shape)) if turn else shape,
            torch.float32 if kept else dtype,
            lambda path=path, theirs=theirs, turn=turn, heads=heads: _read(path, theirs, turn=turn, heads=heads),  # type: ignore[misc]
        )


def _renamed(theirs: str, family: str) -> str:
    """The name in the file; nothing for tables that are no weights."""
    module, _, kind = theirs.rpartition(".")
    if module in _TOP:
        return f"{_TOP[module]}.{kind}"
    start = "h." if family == "gpt2" else "model.layers."
    layer, _, part = module.removeprefix(start).partition(".")
    parts = _GPT2_PARTS if family == "gpt2" else _LLAMA_PARTS
    if part in ("attn", "self_attn.rotary_emb"):  # the causal mask and the frequencies, which old files carry
        return ""
    if not module.startswith(start) or part not in parts or kind not in ("weight", "bias"):
        raise InputError(f"the weight {theirs} has no place in a GGUF of {family}", where="model.safetensors")
    return f"blk.{layer}.{parts[part]}.{kind}"


def _rotary_heads(name: str, config: Mapping[str, Any]) -> int:
    heads = int(config["num_attention_heads"])
    return heads if ".q_proj." in name else int(config.get("num_key_value_heads") or heads) if ".k_proj." in name else 0


def _read(path: Path, name: str, *, turn: bool, heads: int) -> Tensor:
    """heads: of a query or key matrix, whose rows go from halves (i, i + D/2) to neighbours (2i, 2i + 1): llama.cpp turns those."""
    with safe_open(path, framework="pt") as file:
        tensor: Tensor = file.get_tensor(name)
    if turn:
        return tensor.t()
    if heads:
        D = tensor.shape[0] // heads
        return tensor.view(heads, 2, D // 2, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)
    return tensor


def _array(weight: _Weight, folder: Path) -> np.ndarray[Any, Any]:
    tensor = weight.make().to(weight.dtype).contiguous()
    if weight.dtype == torch.float16 and not bool(tensor.isfinite().all()):
        raise InputError(
            f"{weight.name} has values that fp16 cannot hold", where=str(folder), mend="Export with --outtype bf16 or f32."
        )
    if weight.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(np.uint16)
    return tensor.numpy()


def _rope_factors(config: Mapping[str, Any]) -> Iterator[_Weight]:
    """Llama 3.1's scaling as the factor by which each frequency is divided: (D/2)."""
    rope = _rope(config)
    if rope.get("rope_type") != "llama3":
        return
    factor, low, high = float(rope["factor"]), float(rope["low_freq_factor"]), float(rope["high_freq_factor"])
    original, D = float(rope["original_max_position_embeddings"]), _head_width(config)
    frequencies = _rope_base(config) ** (-torch.arange(0, D, 2, dtype=torch.float64) / D)
    turns = original * frequencies / (2 * math.pi)  # in the context of pretraining
    smooth = ((turns - low) / (high - low)).clamp(0, 1)
    factors = (1 / ((1 - smooth) / factor + smooth)).float()
    yield _Weight("rope_freqs.weight", (D // 2,), torch.float32, lambda: factors)


def _add_shape(writer: "GGUFWriter", config: Mapping[str, Any], family: str) -> None:
    import gguf

    writer.add_vocab_size(int(config["vocab_size"]))
    if family == "gpt2":
        writer.add_context_length(config["n_positions"])
        writer.add_embedding_length(config["n_embd"])
        writer.add_block_count(config["n_layer"])
        writer.add_feed_forward_length(config.get("n_inner") or 4 * config["n_embd"])
        writer.add_head_count(config["n_head"])
        writer.add_layer_norm_eps(config.get("layer_norm_epsilon", 1e-5))
        return
    heads = int(config["num_attention_heads"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_layer_norm_rms_eps(config.get("rms_norm_eps", 1e-6))
    writer.add_key_length(_head_width(config))
    writer.add_value_length(_head_width(config))
    writer.add_rope_dimension_count(_head_width(config))
    writer.add_rope_freq_base(_rope_base(config))
    rope = _rope(config)
    match rope.get("rope_type", "default"):
        case "default" | "llama3":
            pass
        case "linear":
            writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(float(rope["factor"]))
        case other:
            raise InputError(
                f"rope type {other!r} cannot be written as GGUF here", where="config.json", mend="Export with --format hf."
            )


def _add_vocabulary(writer: "GGUFWriter", vocabulary: Vocabulary) -> None:
    writer.add_tokenizer_model(vocabulary.kind)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(list(vocabulary.tokens))
    writer.add_token_types(list(vocabulary.types))
    if vocabulary.kind == "gpt2":
        writer.add_token_merges(list(vocabulary.merges))
    else:
        writer.add_token_scores(list(vocabulary.scores))
        writer.add_add_space_prefix(vocabulary.space_prefix)
    adding = {
        "bos": writer.add_bos_token_id,
        "eos": writer.add_eos_token_id,
        "eot": writer.add_eot_token_id,
        "unk": writer.add_unk_token_id,
        "pad": writer.add_pad_token_id,
    }
    for name, number in vocabulary.ids.items():
        adding[name](number)
    writer.add_add_bos_token(vocabulary.add_bos)
    writer.add_add_eos_token(False)
    if vocabulary.chat_template:
        writer.add_chat_template(vocabulary.chat_template)


def _rope(config: Mapping[str, Any]) -> dict[str, Any]:
    rope = dict(config.get("rope_scaling") or config.get("rope_parameters") or {})
    rope["rope_type"] = rope.get("rope_type") or rope.get("type") or "default"
    return rope


def _rope_base(config: Mapping[str, Any]) -> float:
    return float(config.get("rope_theta") or (config.get("rope_parameters") or {}).get("rope_theta") or 10_000.0)


def _head_width(config: Mapping[str, Any]) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def _read_config(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return document
