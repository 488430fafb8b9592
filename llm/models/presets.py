"""The models one can name. Loads without torch.

Those with a vocabulary of their own are published ones, to the parameter; the small ones take the vocabulary of a small tokenizer.
"""

from dataclasses import replace
from typing import Final

from infra.store.errors import InputError
from llm.models.config import CausalConfig, GPT2Config, LlamaConfig, RopeScaling


def _gpt2(n_layers: int, width: int, n_heads: int, *, vocabulary: int = 50_257, context_length: int = 1024) -> GPT2Config:
    return GPT2Config(
        vocabulary=vocabulary, context_length=context_length, n_layers=n_layers, width=width, n_heads=n_heads, hidden=4 * width
    )


def _llama32(n_layers: int, width: int, n_heads: int, hidden: int) -> LlamaConfig:
    return LlamaConfig(
        vocabulary=128_256,
        context_length=131_072,
        n_layers=n_layers,
        width=width,
        n_heads=n_heads,
        n_kv_heads=8,
        hidden=hidden,
        rope_base=500_000.0,
        rope_scaling=RopeScaling(kind="llama3", factor=32.0),
    )


PRESETS: Final[dict[str, CausalConfig]] = {
    "llama-tiny": LlamaConfig(vocabulary=512, context_length=64, n_layers=2, width=64, n_heads=4, n_kv_heads=2, hidden=176),
    "llama-5m": LlamaConfig(vocabulary=4096, context_length=256, n_layers=6, width=256, n_heads=4, n_kv_heads=2, hidden=704),
    "llama-14m": LlamaConfig(
        vocabulary=4096, context_length=256, n_layers=6, width=384, n_heads=6, n_kv_heads=6, hidden=1024, tied=False
    ),
    "llama2-7b": LlamaConfig(
        vocabulary=32_000, context_length=4096, n_layers=32, width=4096, n_heads=32, n_kv_heads=32, hidden=11_008, tied=False
    ),
    "llama3-8b": LlamaConfig(
        vocabulary=128_256,
        context_length=8192,
        n_layers=32,
        width=4096,
        n_heads=32,
        n_kv_heads=8,
        hidden=14_336,
        tied=False,
        rope_base=500_000.0,
    ),
    "llama3.2-1b": _llama32(16, 2048, 32, 8192),
    "llama3.2-3b": _llama32(28, 3072, 24, 8192),
    "qwen3-0.6b": LlamaConfig(
        vocabulary=151_936,
        context_length=40_960,
        n_layers=28,
        width=1024,
        n_heads=16,
        n_kv_heads=8,
        head_width=128,
        hidden=3072,
        qk_norm=True,
        rope_base=1_000_000.0,
        norm_epsilon=1e-6,
    ),
    "gpt2-tiny": _gpt2(2, 64, 4, vocabulary=512, context_length=64),
    "gpt2-10m": _gpt2(7, 320, 5, vocabulary=4096, context_length=256),
    "gpt2-124m": _gpt2(12, 768, 12),
    "gpt2-355m": _gpt2(24, 1024, 16),
    "gpt2-774m": _gpt2(36, 1280, 20),
    "gpt2-1.5b": _gpt2(48, 1600, 25),
}


def preset(name: str, *, vocabulary: int, context_length: int) -> CausalConfig:
    """The named preset with the tokenizer's vocabulary and the run's row length. Raises InputError on an unknown name."""
    if name not in PRESETS:
        raise InputError(f"no model preset {name!r}", where="model.preset", mend=f"Choose one of {', '.join(PRESETS)}.")
    return replace(PRESETS[name], vocabulary=vocabulary, context_length=context_length)
