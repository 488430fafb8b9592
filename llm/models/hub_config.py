"""`config.json` of `transformers` <-> the shape of a model, without loading torch.

What a field does not say is what transformers assumes for the family. A field that would change the result, and is not
computed here, is refused by name; so is one that nobody here knows, unless its value says that it is off.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, cast

from infra.store.errors import DamagedError, InputError
from llm.models.config import CausalConfig, GPT2Config, LlamaConfig
from llm.models.hub_fields import Fields
from llm.models.hub_rope import ROPE_FIELDS, rope_fields, rope_of

CONFIG: Final = "config.json"
Kind = Literal["causal", "classifier"]
_CLASSES: Final = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3", "gpt2": "GPT2"}
ARCHITECTURES: Final[dict[str, tuple[str, Kind]]] = {
    **{f"{name}{'LMHeadModel' if name == 'GPT2' else 'ForCausalLM'}": (family, "causal") for family, name in _CLASSES.items()},
    **{f"{name}ForSequenceClassification": (family, "classifier") for family, name in _CLASSES.items()},
}
"""The class of `transformers`, and of which family and what it is."""

_LLAMA: Final = (
    "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads head_dim "
    "max_position_embeddings rms_norm_eps tie_word_embeddings sliding_window use_sliding_window max_window_layers "
    "layer_types pretraining_tp"  # the last only cuts matrices for several devices
)
_GPT2: Final = (
    "vocab_size n_positions n_ctx n_embd n_layer n_head n_inner layer_norm_epsilon tie_word_embeddings "
    "scale_attn_weights scale_attn_by_inverse_layer_idx reorder_and_upcast_attn "  # the last is a matter of half precision
    "resid_pdrop embd_pdrop attn_pdrop summary_type summary_use_proj summary_activation summary_proj_to_labels "
    "summary_first_dropout"
)
_KNOWN: Final = {family: frozenset((_GPT2 if family == "gpt2" else _LLAMA).split()) | ROPE_FIELDS for family in _CLASSES}
"""Fields that are read here, or have no bearing on the result."""
_GELU: Final = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast")  # three ways to write one function
_ONLY: Final[dict[str, dict[str, tuple[Any, ...]]]] = {
    "llama": {"hidden_act": ("silu", "swish"), "attention_bias": (False, None), "mlp_bias": (False, None)},
    "mistral": {"hidden_act": ("silu", "swish")},
    "qwen2": {"hidden_act": ("silu", "swish")},
    "qwen3": {"hidden_act": ("silu", "swish"), "attention_bias": (False, None)},
    "gpt2": {
        "activation_function": _GELU,
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
    },
}
"""Fields with the values that are computed here; one that is absent has the first."""


def kind(folder: Path) -> Kind:
    """What the model of a folder does, by its `config.json` alone. Raises InputError for what is neither."""
    return kind_of(read_config(folder), str(folder / CONFIG))


def load_config(folder: Path) -> CausalConfig:
    """The shape that a folder's `config.json` tells. Raises InputError naming what is not computed here."""
    return from_hugging_face(read_config(folder), str(folder / CONFIG))


def read_config(folder: Path) -> dict[str, Any]:
    """The fields of a folder's `config.json`. Raises InputError where there is none, DamagedError where it is none."""
    path = folder / CONFIG
    try:
        fields = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(
            "not a model: it has no config.json", where=str(folder), mend="Name a model package or a Hugging Face folder."
        ) from None
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise DamagedError("not JSON", where=str(path), mend="Fetch the model again.")
    return fields


def kind_of(fields: Mapping[str, Any], where: str) -> Kind:
    """What the model does. Raises InputError for what is neither."""
    return _architecture(fields, where)[1]


def _architecture(fields: Mapping[str, Any], where: str) -> tuple[str, Kind]:
    named = (fields.get("architectures") or [""])[0]
    family = fields.get("model_type")
    if not named and family in _CLASSES:
        return family, "causal"
    if named not in ARCHITECTURES or family not in (None, ARCHITECTURES[named][0]):
        what = named if named not in ARCHITECTURES else f"{named} of model_type={family!r}"
        raise InputError(
            f"not a model this Slipway knows ({what or 'no architecture'})",
            where=where,
            mend=f"Known are {', '.join(ARCHITECTURES)}.",
        )
    return ARCHITECTURES[named]


def from_hugging_face(fields: Mapping[str, Any], where: str) -> CausalConfig:
    """The shape that `config.json` tells. Raises InputError naming all that is unknown or missing."""
    family, _ = _architecture(fields, where)
    read = Fields(fields, where)
    config = _gpt2(read) if family == "gpt2" else _llama(read, family)
    read.refuse_others(_ONLY[family], _KNOWN[family])
    assert config is not None, "a missing field was refused"
    return config


def _gpt2(read: Fields) -> GPT2Config | None:
    width = read.size("n_embd")
    shape = {
        "vocabulary": read.size("vocab_size"),
        "context_length": read.size("n_positions"),
        "n_layers": read.size("n_layer"),
        "width": width,
        "n_heads": read.size("n_head"),
        "hidden": read.size("n_inner", 4 * width),
    }
    epsilon, tied = read.number("layer_norm_epsilon", 1e-5), read.truth("tie_word_embeddings", default=True)
    return read.checked(lambda: GPT2Config(**shape, norm_epsilon=epsilon, tied=tied))


def _llama(read: Fields, family: str) -> LlamaConfig | None:
    width, heads = read.size("hidden_size"), read.size("num_attention_heads")
    shape = {
        "vocabulary": read.size("vocab_size"),
        "context_length": read.size("max_position_embeddings"),
        "n_layers": read.size("num_hidden_layers"),
        "width": width,
        "n_heads": heads,
        "n_kv_heads": read.size("num_key_value_heads", heads),
        "hidden": read.size("intermediate_size"),
        "head_width": read.size("head_dim", 128 if family == "qwen3" else width // heads),
    }
    epsilon, tied = read.number("rms_norm_eps", 1e-6), read.truth("tie_word_embeddings", default=False)
    base, scaling = rope_of(read)
    _check_window(read, family, shape["context_length"], shape["n_layers"])
    return read.checked(
        lambda: LlamaConfig(
            **shape,
            tied=tied,
            norm_epsilon=epsilon,
            rope_base=base,
            rope_scaling=scaling,
            qkv_bias=family == "qwen2",
            qk_norm=family == "qwen3",
            family=cast(Any, family),
        )
    )


def _check_window(read: Fields, family: str, context_length: int, n_layers: int) -> None:
    """A window that is no shorter than the context changes nothing."""
    given = read.given
    window = given.get("sliding_window", 4096 if family == "mistral" else None)
    kinds = set(given.get("layer_types") or ())
    if family in ("qwen2", "qwen3"):
        slides = bool(given.get("use_sliding_window")) and (
            "sliding_attention" in kinds if kinds else (given.get("max_window_layers", 28) < n_layers)
        )
        window = window if slides else None
    elif family == "llama" and window is not None:
        read.refuse(f"sliding_window={window}")
        return
    if others := kinds - {"full_attention", "sliding_attention"}:
        read.refuse(f"layer_types with {min(others)}")
    elif "sliding_attention" in kinds and window is None:
        read.refuse("layer_types with sliding_attention")
    if window is not None and window < context_length:
        read.refuse(
            f"sliding_window={window}",
            f"Within {window:,} tokens the window changes nothing: set max_position_embeddings to {window} in config.json.",
        )


def to_hugging_face(
    config: CausalConfig,
    *,
    end_of_text: int,
    dtype: str,
    bos: int | None = None,
    pad: int | None = None,
    labels: tuple[str, ...] = (),
) -> dict[str, Any]:
    """`config.json` under the family's own architecture, in the layout that readers of all ages know. labels: of a classifier.

    bos: the end of text, where there is none of its own. pad: left out where there is none.
    """
    family = "gpt2" if isinstance(config, GPT2Config) else config.family
    kind: Kind = "classifier" if labels else "causal"
    fields = {
        "architectures": [name for name, known in ARCHITECTURES.items() if known == (family, kind)],
        "model_type": family,
        "bos_token_id": end_of_text if bos is None else bos,
        "eos_token_id": end_of_text,
        **({} if pad is None else {"pad_token_id": pad}),
        "initializer_range": 0.02,
        "tie_word_embeddings": config.tied,
        "torch_dtype": dtype,
        "use_cache": True,
        "vocab_size": config.vocabulary,
        **(_gpt2_fields(config) if isinstance(config, GPT2Config) else _llama_fields(config)),
    }
    if labels:
        fields |= {
            "id2label": {str(number): label for number, label in enumerate(labels)},
            "label2id": {label: number for number, label in enumerate(labels)},
            "num_labels": len(labels),
        }
    return fields


def _gpt2_fields(config: GPT2Config) -> dict[str, Any]:
    return {
        "activation_function": "gelu_new",
        **dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), config.dropout),
        "layer_norm_epsilon": config.norm_epsilon,
        "n_ctx": config.context_length,
        "n_embd": config.width,
        "n_head": config.n_heads,
        "n_inner": config.hidden,
        "n_layer": config.n_layers,
        "n_positions": config.context_length,
    }


_OFF: Final[dict[str, dict[str, Any]]] = {
    "llama": {"attention_bias": False, "mlp_bias": False},
    "mistral": {"sliding_window": None},
    "qwen2": {"use_sliding_window": False},
    "qwen3": {"attention_bias": False, "use_sliding_window": False},
}


def _llama_fields(config: LlamaConfig) -> dict[str, Any]:
    return {
        **_OFF[config.family],
        "attention_dropout": 0.0,
        "head_dim": config.head_width,
        "hidden_act": "silu",
        "hidden_size": config.width,
        "intermediate_size": config.hidden,
        "max_position_embeddings": config.context_length,
        "num_attention_heads": config.n_heads,
        "num_hidden_layers": config.n_layers,
        "num_key_value_heads": config.n_kv_heads,
        "rms_norm_eps": config.norm_epsilon,
        **rope_fields(config.rope_base, config.rope_scaling),
    }


def labels_of(fields: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """Those of a classifier, by their numbers; transformers does not write the names it gives itself to two of them."""
    named = fields.get("id2label")
    if named is None:
        return tuple(f"LABEL_{number}" for number in range(fields.get("num_labels", 2)))
    try:
        numbered = {int(number): str(label) for number, label in named.items()}
    except (AttributeError, ValueError):
        numbered = {}
    if sorted(numbered) != list(range(len(numbered))) or not numbered:
        raise InputError("id2label does not number the labels from 0", where=where, mend='Write it as {"0": "...", "1": ...}.')
    return tuple(numbered[number] for number in range(len(numbered)))
