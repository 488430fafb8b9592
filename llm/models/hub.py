"""A Hugging Face folder <-> a model: `config.json` and `model.safetensors`, under the names `transformers` uses."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from infra.store.errors import DamagedError, InputError
from llm.models.causal import CausalModel
from llm.models.classifier import Classifier
from llm.models.config import CausalConfig, LlamaConfig
from llm.models.layers import Rope
from llm.models.llama import Llama

Kind = Literal["causal", "classifier"]
_ARCHITECTURES: dict[str, Kind] = {"LlamaForCausalLM": "causal", "LlamaForSequenceClassification": "classifier"}
_SCORE = "score.weight"  # the one weight of a classifier that its body has not
CONFIG, WEIGHTS, GENERATION = "config.json", "model.safetensors", "generation_config.json"


def save_model(model: CausalModel, folder: Path, *, end_of_text: int, stop: Sequence[int] = ()) -> None:
    """Writes the folder that `transformers.AutoModelForCausalLM.from_pretrained` loads; weights in the model's own dtype.

    stop: all ids that end an answer, for those who generate with it; without any, the end of text alone does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {theirs: model.get_parameter(ours).detach().contiguous().cpu() for ours, theirs in weight_names(model.config)}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    dtype = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
    _write_json(folder / CONFIG, to_hugging_face(model.config, end_of_text=end_of_text, dtype=dtype))
    ends = list(stop) or end_of_text
    _write_json(folder / GENERATION, {"bos_token_id": end_of_text, "eos_token_id": ends, "max_length": model.config.context_length})


def save_classifier(model: Classifier, folder: Path, *, end_of_text: int) -> None:
    """Writes the folder that `transformers.AutoModelForSequenceClassification.from_pretrained` loads, padding by `end_of_text`."""
    folder.mkdir(parents=True, exist_ok=True)
    body, config = model.body, model.body.config
    named = {theirs: body.get_parameter(ours) for ours, theirs in weight_names(config) if ours != "head.weight"}
    tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in {**named, _SCORE: model.score.weight}.items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    fields = to_hugging_face(config, end_of_text=end_of_text, dtype=str(model.score.weight.dtype).removeprefix("torch."))
    fields |= {
        "architectures": ["LlamaForSequenceClassification"],
        "id2label": {str(number): label for number, label in enumerate(model.labels)},
        "label2id": {label: number for number, label in enumerate(model.labels)},
        "num_labels": len(model.labels),
        "pad_token_id": end_of_text,
    }
    _write_json(folder / CONFIG, fields)


def load_model(folder: Path) -> CausalModel:
    """The model of a Hugging Face folder, on the CPU. Raises DamagedError naming a missing or misshapen weight."""
    if kind(folder) != "causal":
        raise InputError(
            "a classifier, not a model that continues text", where=str(folder), mend="Name the model that it was finetuned from."
        )
    config = load_config(folder)
    with torch.device("meta"):
        model = Llama(config)
    _fill(model, dict(_read_weights(folder / WEIGHTS, config)))
    if config.tied:
        model.head.weight = model.embedding.weight
    return model.eval()


def load_classifier(folder: Path) -> Classifier:
    """The classifier of a Hugging Face folder, on the CPU. Raises InputError for another kind of model, DamagedError as above."""
    if kind(folder) != "classifier":
        raise InputError("not a classifier", where=str(folder), mend="Finetune one with `slipway run finetune-classify`.")
    config, fields = load_config(folder), _read_config(folder)
    labels = [label for _, label in sorted(fields["id2label"].items(), key=lambda item: int(item[0]))]
    with torch.device("meta"):
        model = Classifier(Llama(config), labels)
    loaded = dict(_read_weights(folder / WEIGHTS, config, without=("head.weight",)))
    _fill(model.body, loaded)
    model.score.weight = torch.nn.Parameter(_read_tensors(folder / WEIGHTS, {_SCORE: model.score.weight.shape})[_SCORE])
    return model.eval()


def kind(folder: Path) -> Kind:
    """What the model of a folder does, by its `config.json` alone. Raises InputError for what is neither."""
    named = _read_config(folder).get("architectures") or ["LlamaForCausalLM"]
    if named[0] not in _ARCHITECTURES:
        raise InputError(
            f"not a model this Slipway knows ({named[0]})",
            where=str(folder / CONFIG),
            mend=f"Known are {', '.join(_ARCHITECTURES)}.",
        )
    return _ARCHITECTURES[named[0]]


def load_config(folder: Path) -> LlamaConfig:
    return from_hugging_face(_read_config(folder), str(folder / CONFIG))


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        fields: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(
            "not a model: it has no config.json", where=str(folder), mend="Name a model package or a Hugging Face folder."
        ) from None
    except ValueError:
        raise DamagedError("not JSON", where=str(path), mend="Fetch the model again.") from None
    return fields


def _fill(model: CausalModel, loaded: dict[str, Tensor]) -> None:
    """Weights into a model on the meta device, which has no rotary tables yet either."""
    model.load_state_dict(loaded, assign=True, strict=False)
    for module in model.modules():
        if isinstance(module, Rope):
            module.reset()


def to_hugging_face(config: CausalConfig, *, end_of_text: int, dtype: str) -> dict[str, Any]:
    if not isinstance(config, LlamaConfig):
        raise InputError("only Llamas are written as yet", where="model.preset")
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


def weight_names(config: CausalConfig) -> Iterator[tuple[str, str]]:
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


def _read_weights(path: Path, config: LlamaConfig, without: tuple[str, ...] = ()) -> Iterator[tuple[str, Tensor]]:
    with torch.device("meta"):
        shapes = {name: parameter.shape for name, parameter in Llama(config).named_parameters()}
    names = [(ours, theirs) for ours, theirs in weight_names(config) if ours not in without]
    found = _read_tensors(path, {theirs: shapes[ours] for ours, theirs in names})
    return ((ours, found[theirs]) for ours, theirs in names)


def _read_tensors(path: Path, shapes: dict[str, torch.Size]) -> dict[str, Tensor]:
    found = {}
    try:
        with safe_open(path, framework="pt") as file:
            for name, shape in shapes.items():
                found[name] = file.get_tensor(name)
                if found[name].shape != shape:
                    raise DamagedError(
                        f"{name} has shape {tuple(found[name].shape)}, config.json says {tuple(shape)}", where=str(path)
                    )
            return found
    except FileNotFoundError:
        raise InputError("no weights", where=str(path), mend="A model folder has config.json and model.safetensors.") from None
    except SafetensorError as error:
        raise DamagedError(f"not whole ({error})", where=str(path), mend="Fetch the model again.") from None


def _write_json(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
