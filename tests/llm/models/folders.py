"""Tiny Hugging Face folders of every family with random weights, as `transformers` writes them, and a tokenizer."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from llm.text.tokenizer import Tokenizer

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
TEXTS = ["the ship waits for the open sea, and nobody asks why: 1234 times it's so\n\n"] * 30
FAMILIES = ("llama", "llama3", "mistral", "qwen2", "qwen3", "gpt2")


def make_folder(folder: Path, family: str, *, tied: bool = False, dtype: torch.dtype = torch.float32, rows: int = 384) -> Path:
    """rows: of the embedding; the tokenizer has fewer tokens."""
    folder.mkdir(parents=True)
    config = _gpt2(rows) if family == "gpt2" else _llama(family, rows, tied)
    (folder / "config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(0)
    shapes = _gpt2_shapes(config) if family == "gpt2" else _llama_shapes(config, family)
    weights = {}
    for name, shape in shapes.items():
        random = torch.randn(shape, generator=generator) * 0.2
        norm = len(shape) == 1 and name.endswith("weight")
        weights[name] = (1 + random if norm else random).to(dtype)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer = Tokenizer.train(TEXTS, min(rows, 384) - 14)
    tokenizer.save(folder, context_length=64)
    (folder / "generation_config.json").write_text(json.dumps({"bos_token_id": 0, "eos_token_id": [2, 0]}))
    return folder


def _llama(family: str, rows: int, tied: bool) -> dict[str, Any]:
    named = {"llama": "Llama", "llama3": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3"}[family]
    return {
        "architectures": [f"{named}ForCausalLM"],
        "model_type": named.lower(),
        "hidden_size": 64,
        "head_dim": 32 if family == "qwen3" else 16,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
        "rope_theta": 50_000.0,
        "rope_scaling": LLAMA3_ROPE if family == "llama3" else None,
        "hidden_act": "silu",
        "tie_word_embeddings": tied,
        "vocab_size": rows,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "torch_dtype": "float32",
        **({"sliding_window": None} if family == "mistral" else {}),
    }


def _llama_shapes(config: dict[str, Any], family: str) -> dict[str, tuple[int, ...]]:
    C, D, hidden, V = config["hidden_size"], config["head_dim"], config["intermediate_size"], config["vocab_size"]
    H, kv = config["num_attention_heads"], config["num_key_value_heads"]
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (V, C), "model.norm.weight": (C,)}
    for layer in range(config["num_hidden_layers"]):
        block: dict[str, tuple[int, ...]] = {
            "input_layernorm.weight": (C,),
            "post_attention_layernorm.weight": (C,),
            "self_attn.q_proj.weight": (H * D, C),
            "self_attn.k_proj.weight": (kv * D, C),
            "self_attn.v_proj.weight": (kv * D, C),
            "self_attn.o_proj.weight": (C, H * D),
            "mlp.gate_proj.weight": (hidden, C),
            "mlp.up_proj.weight": (hidden, C),
            "mlp.down_proj.weight": (C, hidden),
        }
        if family == "qwen2":
            block |= {f"self_attn.{name}_proj.bias": (heads * D,) for name, heads in (("q", H), ("k", kv), ("v", kv))}
        if family == "qwen3":
            block |= {"self_attn.q_norm.weight": (D,), "self_attn.k_norm.weight": (D,)}
        shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in block.items()}
    return shapes if config["tie_word_embeddings"] else {**shapes, "lm_head.weight": (V, C)}


def _gpt2(rows: int) -> dict[str, Any]:
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "n_embd": 64,
        "n_head": 4,
        "n_layer": 2,
        "n_positions": 64,
        "n_inner": None,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "vocab_size": rows,
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "torch_dtype": "float32",
    }


def _gpt2_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    C = config["n_embd"]
    shapes: dict[str, tuple[int, ...]] = {
        "transformer.wte.weight": (config["vocab_size"], C),
        "transformer.wpe.weight": (config["n_positions"], C),
        "transformer.ln_f.weight": (C,),
        "transformer.ln_f.bias": (C,),
    }
    for layer in range(config["n_layer"]):
        parts = {"attn.c_attn": (C, 3 * C), "attn.c_proj": (C, C), "mlp.c_fc": (C, 4 * C), "mlp.c_proj": (4 * C, C)}
        for name, shape in parts.items():
            shapes |= {f"transformer.h.{layer}.{name}.weight": shape, f"transformer.h.{layer}.{name}.bias": shape[1:]}
        for name in ("ln_1", "ln_2"):
            shapes |= {f"transformer.h.{layer}.{name}.weight": (C,), f"transformer.h.{layer}.{name}.bias": (C,)}
    return shapes
