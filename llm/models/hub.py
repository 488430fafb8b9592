"""A Hugging Face folder <-> a model: `config.json` and `model.safetensors`, under the names `transformers` uses."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from infra.store.errors import DamagedError, InputError
from llm.models.config import LlamaConfig
from llm.models.llama import Llama

CONFIG, WEIGHTS, GENERATION = "config.json", "model.safetensors", "generation_config.json"


def save_model(model: Llama, folder: Path, *, end_of_text: int) -> None:
    """Writes the folder that `transformers.AutoModelForCausalLM.from_pretrained` loads; weights in the model's own dtype."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {theirs: model.get_parameter(ours).detach().contiguous().cpu() for ours, theirs in weight_names(model.config)}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    dtype = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
    _write_json(folder / CONFIG, to_hugging_face(model.config, end_of_text=end_of_text, dtype=dtype))
    _write_json(
        folder / GENERATION, {"bos_token_id": end_of_text, "eos_token_id": end_of_text, "max_length": model.config.context_length}
    )


def load_model(folder: Path) -> Llama:
    """The model of a Hugging Face folder, on the CPU. Raises DamagedError naming a missing or misshapen weight."""
    config = load_config(folder)
    with torch.device("meta"):
        model = Llama(config)
    loaded = dict(_read_weights(folder / WEIGHTS, config))
    model.load_state_dict(loaded, assign=True, strict=False)
    if config.tied:
        model.head.weight = model.embedding.weight
    model.rope = type(model.rope)(config.head_width, config.context_length, config.rope_base)
    return model.eval()


def load_config(folder: Path) -> LlamaConfig:
    path = folder / CONFIG
    try:
        fields = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(
            "not a model: it has no config.json", where=str(folder), mend="Name a model package or a Hugging Face folder."
        ) from None
    except ValueError:
        raise DamagedError("not JSON", where=str(path), mend="Fetch the model again.") from None
    return from_hugging_face(fields, str(path))


def to_hugging_face(config: LlamaConfig, *, end_of_text: int, dtype: str) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": end_of_text,
        "eos_token_id": end_of_text,
        "head_dim": config.head_width,
        "hidden_act": "silu",
        "hidden_size": config.width,
        "initializer_range": 0.02,
        "intermediate_size": config.hidden,
        "max_position_embeddings": config.context_length,
        "mlp_bias": False,
        "num_attention_heads": config.n_heads,
        "num_hidden_layers": config.n_layers,
        "num_key_value_heads": config.n_kv_heads,
        "rms_norm_eps": config.norm_epsilon,
        "rope_theta": config.rope_base,
        "tie_word_embeddings": config.tied,
        "torch_dtype": dtype,
        "use_cache": True,
        "vocab_size": config.vocabulary,
    }


def from_hugging_face(fields: dict[str, Any], where: str) -> LlamaConfig:
    """Maps `config.json`; a field that would change the result and is not known here is refused by name."""
    refused = [
        f"{name}={fields[name]!r}"
        for name, expected in {"model_type": "llama", "hidden_act": "silu", "attention_bias": False, "mlp_bias": False}.items()
        if fields.get(name, expected) != expected
    ]
    rope = fields.get("rope_scaling") or fields.get("rope_parameters") or {}
    if rope.get("rope_type", rope.get("type", "default")) != "default":
        refused.append(f"rope type {rope.get('rope_type', rope.get('type'))!r}")
    heads = fields["num_attention_heads"]
    if fields.get("head_dim") not in (None, fields["hidden_size"] // heads):
        refused.append(f"head_dim={fields['head_dim']}")
    if refused:
        raise InputError(
            f"not a model this Slipway knows ({', '.join(refused)})",
            where=where,
            mend="Llama with SwiGLU, no biases and plain rotary positions is known.",
        )
    return LlamaConfig(
        vocabulary=fields["vocab_size"],
        context_length=fields["max_position_embeddings"],
        n_layers=fields["num_hidden_layers"],
        width=fields["hidden_size"],
        n_heads=heads,
        n_kv_heads=fields.get("num_key_value_heads") or heads,
        hidden=fields["intermediate_size"],
        tied=fields.get("tie_word_embeddings", False),
        rope_base=float(fields.get("rope_theta") or rope.get("rope_theta") or 10_000.0),
        norm_epsilon=fields.get("rms_norm_eps", 1e-6),
    )


def weight_names(config: LlamaConfig) -> Iterator[tuple[str, str]]:
    """Our parameter names and those of `transformers`, in order; a tied output layer is not stored."""
    yield "embedding.weight", "model.embed_tokens.weight"
    parts = {
        "attention_norm": "input_layernorm",
        "attention.q": "self_attn.q_proj",
        "attention.k": "self_attn.k_proj",
        "attention.v": "self_attn.v_proj",
        "attention.out": "self_attn.o_proj",
        "mlp_norm": "post_attention_layernorm",
        "mlp.gate": "mlp.gate_proj",
        "mlp.up": "mlp.up_proj",
        "mlp.down": "mlp.down_proj",
    }
    for layer in range(config.n_layers):
        for ours, theirs in parts.items():
            yield f"blocks.{layer}.{ours}.weight", f"model.layers.{layer}.{theirs}.weight"
    yield "norm.weight", "model.norm.weight"
    if not config.tied:
        yield "head.weight", "lm_head.weight"


def _read_weights(path: Path, config: LlamaConfig) -> Iterator[tuple[str, Tensor]]:
    with torch.device("meta"):
        shapes = {name: parameter.shape for name, parameter in Llama(config).named_parameters()}
    try:
        with safe_open(path, framework="pt") as file:
            for ours, theirs in weight_names(config):
                tensor = file.get_tensor(theirs)
                if tensor.shape != shapes[ours]:
                    raise DamagedError(
                        f"{theirs} has shape {tuple(tensor.shape)}, config.json says {tuple(shapes[ours])}", where=str(path)
                    )
                yield ours, tensor
    except FileNotFoundError:
        raise InputError("no weights", where=str(path), mend="A model folder has config.json and model.safetensors.") from None
    except SafetensorError as error:
        raise DamagedError(f"not whole ({error})", where=str(path), mend="Fetch the model again.") from None


def _write_json(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
