"""Tiny models of `transformers`, one a family and variant, and ours of the same shapes."""

from pathlib import Path
from typing import Any

import torch
import transformers

from llm.models.causal import CausalModel

LABELS = ("ham", "spam", "neither")
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
LINEAR = {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0}

_SHAPE = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
_GPT2 = {"vocab_size": 96, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64} | dict.fromkeys(
    ("bos_token_id", "eos_token_id", "pad_token_id"), 0
)
SPECIMENS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama, a key-value head for each head": ("llama", {"num_key_value_heads": 4}),
    "llama, tied": ("llama", {"tie_word_embeddings": True}),
    "llama 3.1": ("llama", {"rope_parameters": LLAMA3, "tie_word_embeddings": True}),
    "llama, linear scaling": ("llama", {"rope_parameters": LINEAR}),
    "llama, wide heads": ("llama", {"head_dim": 12}),
    "mistral": ("mistral", {"sliding_window": None}),
    "mistral, a window as long as the context": ("mistral", {"sliding_window": 64, "head_dim": 16}),
    "qwen2": ("qwen2", {"tie_word_embeddings": True}),
    "qwen2.5, untied": ("qwen2", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "qwen3": ("qwen3", {"head_dim": 16, "tie_word_embeddings": True}),
    "qwen3, untied": ("qwen3", {"head_dim": 8}),
    "gpt2": ("gpt2", {}),
    "gpt2, untied": ("gpt2", {"tie_word_embeddings": False, "n_inner": 48}),
}


def theirs_of(specimen: str, *, classifier: bool = False, std: float = 0.1) -> Any:
    """A fresh model of transformers with weights wide enough for logits that are worth comparing."""
    family, fields = SPECIMENS[specimen]
    shape = _GPT2 if family == "gpt2" else _SHAPE
    if classifier:
        fields = fields | {"id2label": dict(enumerate(LABELS)), "label2id": {label: place for place, label in enumerate(LABELS)}}
    config = transformers.AutoConfig.for_model(family, **(shape | fields))
    kind: Any = transformers.AutoModelForSequenceClassification if classifier else transformers.AutoModelForCausalLM
    model = kind.from_config(config).eval()
    scatter(model, std)
    return model


def read_by_transformers(folder: Path, *, classifier: bool = False) -> Any:
    kind: Any = transformers.AutoModelForSequenceClassification if classifier else transformers.AutoModelForCausalLM
    return kind.from_pretrained(folder, dtype=torch.float32).eval()


@torch.no_grad()
def scatter(model: torch.nn.Module, std: float = 0.1) -> None:
    """Other weights, biases and norms than a fresh model has."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=generator) * std)


def ids(rows: int = 2, length: int = 24) -> torch.Tensor:
    return torch.randint(1, 96, (rows, length), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def apart(ours: CausalModel, theirs: Any) -> float:
    """The largest difference between any two logits."""
    return float((ours(ids()) - theirs(ids()).logits).abs().max())
