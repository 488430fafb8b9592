"""A folder is loaded as what it is, or refused with the name of what is not known, missing or damaged: never a bit wrong."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file, save_file

from infra.store.errors import DamagedError, InputError
from llm.models.build import new_model
from llm.models.config import LlamaConfig
from llm.models.hub import load_classifier, load_model, save_model
from llm.models.hub_config import from_hugging_face, kind, labels_of, load_config, to_hugging_face
from llm.models.presets import PRESETS

YARN = {"rope_type": "yarn", "factor": 4.0}
LONG = {"type": "longrope", "short_factor": [1.0], "long_factor": [2.0]}


def fields_of(family: str) -> dict[str, Any]:
    """The config.json of a tiny model of the family."""
    tiny = PRESETS["gpt2-tiny" if family == "gpt2" else "llama-tiny"]
    if isinstance(tiny, LlamaConfig):
        tiny = replace(tiny, qkv_bias=family == "qwen2", qk_norm=family == "qwen3", family=cast(Any, family))
    return to_hugging_face(tiny, end_of_text=0, dtype="float32")


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3", "gpt2"])
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"num_experts": 8, "num_experts_per_tok": 2}, r"num_experts=8, num_experts_per_tok=2"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, r"quantization_config=.*gptq"),
        ({"tie_word_embeddings": "yes"}, r"tie_word_embeddings='yes'"),
        ({"vocab_size": None}, "no vocab_size"),
        ({"vocab_size": "512"}, "vocab_size='512'"),
        ({"model_type": "gemma"}, "model_type='gemma'"),
        ({"architectures": ["BertModel"]}, "BertModel"),
        ({"is_encoder_decoder": True}, "is_encoder_decoder=True"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_no_family_has_is_refused_by_name(family: str, change: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        from_hugging_face(fields_of(family) | change, "config.json")


@pytest.mark.parametrize(
    ("family", "change", "named"),
    [
        ("llama", {"attention_bias": True}, "attention_bias=True"),
        ("llama", {"mlp_bias": True}, "mlp_bias=True"),
        ("llama", {"hidden_act": "gelu"}, "hidden_act='gelu'"),
        ("llama", {"partial_rotary_factor": 0.5}, r"partial_rotary_factor=0\.5"),
        ("llama", {"rope_parameters": {"partial_rotary_factor": 0.25}}, r"partial_rotary_factor=0\.25"),
        ("llama", {"rope_scaling": YARN}, "rope type 'yarn'"),
        ("llama", {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "rope type 'dynamic'"),
        ("llama", {"rope_scaling": LONG}, "rope type 'longrope'"),
        ("llama", {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "rope type 'llama3' without low_freq_factor"),
        ("llama", {"rope_scaling": {"rope_type": "linear", "factor": 0.5}}, r"factor is 0\.5"),
        ("llama", {"rope_parameters": {"full_attention": {"rope_theta": 1e6}}}, "full_attention="),
        ("llama", {"head_dim": 15}, "heads are 15 wide"),
        ("llama", {"num_key_value_heads": 3}, "do not divide each other"),
        ("llama", {"sliding_window": 16}, "sliding_window=16"),
        ("mistral", {"sliding_window": 63}, "sliding_window=63"),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1}, "sliding_window=16"),
        ("qwen3", {"use_sliding_window": True, "sliding_window": 16, "layer_types": ["sliding_attention"] * 2}, "sliding_window"),
        ("qwen3", {"layer_types": ["linear_attention", "full_attention"]}, "layer_types with linear_attention"),
        ("qwen3", {"attention_bias": True}, "attention_bias=True"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx=True"),
        ("gpt2", {"scale_attn_weights": False}, "scale_attn_weights=False"),
        ("gpt2", {"activation_function": "gelu"}, "activation_function='gelu'"),
        ("gpt2", {"add_cross_attention": True}, "add_cross_attention=True"),
        ("gpt2", {"n_head": 5}, "64 and 5 heads"),
    ],
)
def test_what_would_change_the_result_of_a_family_is_refused_by_name(family: str, change: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named) as caught:
        from_hugging_face(fields_of(family) | change, "here/config.json")
    assert caught.value.where == "here/config.json"


@pytest.mark.parametrize(
    ("family", "change"),
    [
        ("llama", {"pretraining_tp": 2, "_name_or_path": "meta/llama", "unsloth_version": "2025.1", "torch_dtype": "bfloat16"}),
        ("llama", {"rope_scaling": None, "a_flag_of_next_year": False, "quantization_config": None}),
        ("mistral", {"sliding_window": 64}),
        ("qwen2", {"use_sliding_window": False, "sliding_window": 16, "max_window_layers": 1}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 2}),
        ("qwen3", {"use_sliding_window": True, "sliding_window": 64, "layer_types": ["sliding_attention", "full_attention"]}),
        ("gpt2", {"reorder_and_upcast_attn": True, "attn_pdrop": 0.1, "activation_function": "gelu_pytorch_tanh"}),
    ],
)
def test_what_changes_nothing_is_taken(family: str, change: dict[str, Any]) -> None:
    given = fields_of(family)
    assert from_hugging_face(given | change, "") == from_hugging_face(given, "")


def test_what_a_file_does_not_say_is_what_transformers_takes_it_for() -> None:
    def without(family: str, *names: str) -> Any:
        return from_hugging_face({name: value for name, value in fields_of(family).items() if name not in names}, "")

    assert without("gpt2", "tie_word_embeddings", "n_inner", "architectures").tied
    assert not without("llama", "tie_word_embeddings").tied
    assert without("llama", "num_key_value_heads", "head_dim").n_kv_heads == 4
    assert without("qwen3", "head_dim").head_width == 128
    assert without("llama", "head_dim", "rope_theta", "rms_norm_eps").norm_epsilon == 1e-6
    with pytest.raises(InputError, match="sliding_window=4096"):  # of Mistral's first version, and its default
        from_hugging_face(
            {k: v for k, v in fields_of("mistral").items() if k != "sliding_window"} | {"max_position_embeddings": 32_768}, ""
        )


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(InputError, match=r"no hidden_size, rope type 'yarn', attention_bias=True, num_experts=8"):
        from_hugging_face(
            fields_of("llama") | {"hidden_size": None, "rope_scaling": YARN, "attention_bias": True, "num_experts": 8}, ""
        )


def test_labels_are_read_by_their_numbers() -> None:
    assert labels_of({"id2label": {"1": "spam", "0": "ham"}}, "") == ("ham", "spam")
    assert labels_of({}, "") == ("LABEL_0", "LABEL_1")
    with pytest.raises(InputError, match="does not number the labels from 0"):
        labels_of({"id2label": {"1": "spam", "2": "ham"}}, "")


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(new_model(PRESETS["llama-tiny"]), tmp_path, end_of_text=0)
    return tmp_path


def test_a_weight_that_is_missing_is_named(folder: Path) -> None:
    def take_out(weights: dict[str, torch.Tensor]) -> None:
        del weights["model.layers.1.mlp.up_proj.weight"]

    change_weights(folder, take_out)
    with pytest.raises(DamagedError, match=r"model\.layers\.1\.mlp\.up_proj\.weight is missing"):
        load_model(folder)


def test_a_weight_of_another_shape_is_named_with_both(folder: Path) -> None:
    change_weights(folder, lambda weights: weights.update({"model.norm.weight": torch.ones(63)}))
    with pytest.raises(DamagedError, match=r"model\.norm\.weight has shape \(63,\), config\.json says \(64,\)"):
        load_model(folder)


def test_weights_that_are_left_over_are_named(folder: Path) -> None:
    extra = {"model.layers.0.self_attn.q_proj.bias": torch.ones(64), "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}
    change_weights(folder, lambda weights: weights.update(extra))
    with pytest.raises(DamagedError, match=r"q_proj\.bias has no place in the model of config\.json$"):
        load_model(folder)


def test_weights_of_eight_bits_are_refused(folder: Path) -> None:
    change_weights(folder, lambda weights: weights.update({"model.norm.weight": torch.ones(64, dtype=torch.int8)}))
    with pytest.raises(InputError, match="model.norm.weight is I8"):
        load_model(folder)


def test_an_output_layer_that_should_be_the_embedding_has_to_equal_it(folder: Path) -> None:
    def add(factor: float) -> Callable[[dict[str, torch.Tensor]], None]:
        return lambda weights: weights.update({"lm_head.weight": weights["model.embed_tokens.weight"] * factor})

    change_weights(folder, add(1.0))
    load_model(folder)
    change_weights(folder, add(1.5))
    with pytest.raises(DamagedError, match=r"lm_head\.weight differs from model\.embed_tokens\.weight") as caught:
        load_model(folder)
    assert "tie_word_embeddings to false" in caught.value.mend
    fields = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(fields | {"tie_word_embeddings": False}))
    assert not load_model(folder).config.tied


def test_a_file_that_is_no_object_is_named(folder: Path) -> None:
    (folder / "config.json").write_text("[1, 2]")
    with pytest.raises(DamagedError, match=r"config\.json: not JSON"):
        kind(folder)
    with pytest.raises(InputError, match="not a model: it has no config.json"):
        load_config(folder / "nowhere")


def test_a_classifier_keeps_the_context_it_was_trained_with(tmp_path: Path) -> None:
    from llm.models.classifier import Classifier
    from llm.models.hub import save_classifier

    model = Classifier(new_model(PRESETS["gpt2-tiny"]), ("a", "b"), max_length=9).eval()
    save_classifier(model, tmp_path, end_of_text=0)
    loaded = load_classifier(tmp_path)
    ids, lengths = torch.arange(18).reshape(2, 9), torch.tensor([9, 4])
    assert loaded.body.config.context_length == 9
    assert torch.equal(loaded(ids, lengths), model(ids, lengths))
