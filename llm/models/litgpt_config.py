"""The shape of a model in the words of litgpt (0.5.13): its `Config`, from and to `config.json`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from infra.store.errors import DamagedError, InputError

_ARCHITECTURES: Final = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
_DEFAULTS: Final[dict[str, Any]] = {
    "norm_class_name": "LayerNorm",
    "parallel_residual": True,
    "shared_attention_norm": False,
    "bias": True,
    "mlp_class_name": "GptNeoxMLP",
    "rotary_percentage": 0.25,
    "rope_condense_ratio": 1,
    "rope_interleave": False,
    "n_expert": 0,
    "scale_embeddings": False,
    "lm_head_bias": False,
    "final_logit_softcapping": None,
    "attention_logit_softcapping": None,
    "attention_scores_scalar": None,
    "post_attention_norm": False,
    "post_mlp_norm": False,
    "norm_1": True,
    "norm_2": True,
    "latent_attention": None,
    "rope_local_base_freq": None,
    "sliding_window_size": None,
    "norm_qk_type": "default",
}
"""What a configuration of litgpt says where it says nothing, of the fields that a Llama needs otherwise, or must not have."""
_LLAMA: Final[dict[str, Any]] = {
    **_DEFAULTS,
    "norm_class_name": "RMSNorm",
    "parallel_residual": False,
    "bias": False,
    "mlp_class_name": "LLaMAMLP",
    "rotary_percentage": 1.0,
}


def to_litgpt(config: Mapping[str, Any], where: str, name: str) -> dict[str, Any]:
    """`config.json` as litgpt's `Config`; everything that is not its default is said."""
    architecture = (config.get("architectures") or [""])[0]
    if architecture not in _ARCHITECTURES:
        why = "which has learned positions" if architecture.startswith("GPT2") else "which is none of its families here"
        known = ", ".join(_ARCHITECTURES)
        raise InputError(
            f"litgpt has no place for {architecture}, {why}", where=where, mend=f"Known are {known}; or use --format hf."
        )
    if config.get("attention_bias") and architecture == "Qwen3ForCausalLM":
        raise InputError("litgpt has no place for attention_bias in Qwen 3", where=where, mend="Export with --format hf.")
    heads, kv_heads = config["num_attention_heads"], config.get("num_key_value_heads") or config["num_attention_heads"]
    window = config.get("sliding_window") if config.get("use_sliding_window", architecture == "MistralForCausalLM") else None
    return _LLAMA | {
        "name": name,
        "hf_config": {},
        "block_size": config["max_position_embeddings"],
        "n_layer": config["num_hidden_layers"],
        "n_embd": config["hidden_size"],
        "n_head": heads,
        "head_size": config.get("head_dim") or config["hidden_size"] // heads,
        "n_query_groups": kv_heads,
        "intermediate_size": config["intermediate_size"],
        "vocab_size": config["vocab_size"],
        "padded_vocab_size": config["vocab_size"],
        "norm_eps": config.get("rms_norm_eps", 1e-6),
        "norm_qk": architecture == "Qwen3ForCausalLM",
        "attn_bias": architecture == "Qwen2ForCausalLM",
        "rope_base": _whole(_rope_base(config)),
        "rope_adjustments": _rope_adjustments(config, where),
        **({"sliding_window_size": window} if window and window < config["max_position_embeddings"] else {}),
    }


def from_litgpt(fields: Mapping[str, Any], where: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """A `Config` of litgpt as `config.json`. known: one that lies beside it, of which the ids of special tokens are taken."""
    wrong = [
        f"{name}={fields.get(name, _DEFAULTS[name])!r}"
        for name, needed in _LLAMA.items()
        if fields.get(name, _DEFAULTS[name]) != needed
    ]
    wrong = [each for each in wrong if not each.startswith("sliding_window_size")]
    if wrong:
        raise InputError(
            f"not a model this Slipway knows ({', '.join(wrong)})",
            where=where,
            mend="Known of litgpt are Llama, Mistral, Qwen 2 and Qwen 3.",
        )
    window, bias, qk_norm = fields.get("sliding_window_size"), bool(fields.get("attn_bias")), bool(fields.get("norm_qk"))
    kind = "qwen3" if qk_norm else "qwen2" if bias else "mistral" if window else "llama"
    architecture = {"qwen3": "Qwen3", "qwen2": "Qwen2", "mistral": "Mistral", "llama": "Llama"}[kind]
    heads = fields["n_head"]
    return {
        "architectures": [f"{architecture}ForCausalLM"],
        "model_type": kind,
        **({"attention_bias": False} if kind in ("llama", "qwen3") else {}),
        **({"mlp_bias": False} if kind == "llama" else {}),
        **({"sliding_window": window} if kind == "mistral" else {"use_sliding_window": False} if kind.startswith("qwen") else {}),
        "hidden_act": "silu",
        "hidden_size": fields["n_embd"],
        "head_dim": fields.get("head_size") or fields["n_embd"] // heads,
        "intermediate_size": fields["intermediate_size"],
        "max_position_embeddings": fields["block_size"],
        "num_attention_heads": heads,
        "num_hidden_layers": fields["n_layer"],
        "num_key_value_heads": fields.get("n_query_groups") or heads,
        "rms_norm_eps": fields.get("norm_eps", 1e-5),
        "rope_theta": float(fields.get("rope_base", 10_000)),
        "rope_scaling": _rope_scaling(fields.get("rope_adjustments"), where),
        "vocab_size": fields["padded_vocab_size"],
        "use_cache": True,
        **{name: known[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id") if name in known},
    }


def _rope_base(config: Mapping[str, Any]) -> float:
    return float(config.get("rope_theta") or (config.get("rope_parameters") or {}).get("rope_theta") or 10_000.0)


def _whole(number: float) -> float | int:
    return int(number) if number.is_integer() else number


def _rope_adjustments(config: Mapping[str, Any], where: str) -> dict[str, Any] | None:
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind == "default":
        return None
    if kind == "linear":
        return {"factor": rope["factor"]}
    if kind == "llama3":
        names = {"factor": "factor", "low_freq_factor": "low_freq_factor", "high_freq_factor": "high_freq_factor"}
        return {ours: rope[theirs] for ours, theirs in names.items()} | {
            "original_max_seq_len": rope["original_max_position_embeddings"]
        }
    raise InputError(f"rope type {kind!r} cannot be written for litgpt here", where=where, mend="Export with --format hf.")


def _rope_scaling(told: Mapping[str, Any] | None, where: str) -> dict[str, Any] | None:
    match sorted(told or ()):
        case []:
            return None
        case ["factor"]:
            return {"rope_type": "linear", "factor": float(told["factor"])}  # type: ignore[index]
        case ["factor", "high_freq_factor", "low_freq_factor", "original_max_seq_len"]:
            assert told is not None
            scaling = {name: float(told[name]) for name in ("factor", "low_freq_factor", "high_freq_factor")}
            return {"rope_type": "llama3", **scaling, "original_max_position_embeddings": told["original_max_seq_len"]}
        case other:
            raise InputError(f"rope adjustments {', '.join(other)} are not known here", where=where, mend="Name another model.")


def write_fields(path: Path, fields: Mapping[str, Any]) -> None:
    import yaml  # none of the four libraries that models need writes YAML; and JSON's 1e-05 is a word to YAML

    path.write_text(yaml.safe_dump(dict(fields)))


def read_fields(path: Path) -> dict[str, Any]:
    import yaml  # as above

    try:
        fields = yaml.safe_load(path.read_text())
        multiple = fields.get("padding_multiple", 512)
        rows = fields.get("padded_vocab_size") or -(-fields["vocab_size"] // multiple) * multiple
        found: dict[str, Any] = {**fields, "padded_vocab_size": rows}
        needed = ("n_layer", "n_embd", "n_head", "block_size", "intermediate_size")
        if missing := [name for name in needed if found.get(name) is None]:
            raise InputError(f"it does not say {missing[0]}", where=str(path), mend="Name a checkpoint that litgpt wrote.")
        return found
    except (yaml.YAMLError, TypeError, KeyError, AttributeError):
        raise DamagedError("not a configuration of litgpt", where=str(path), mend="Fetch the checkpoint again.") from None
