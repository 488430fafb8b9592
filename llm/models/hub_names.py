"""The weights of a model under the names that `transformers` gives them."""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from llm.models.config import CausalConfig, GPT2Config


class Weight(NamedTuple):
    """Our parameter and theirs. turned: theirs is stored (in, out), as GPT-2's matrices are, ours (out, in)."""

    ours: str
    theirs: str
    turned: bool = False


SCORE: Final = "score.weight"
"""The one weight of a classifier that its body has not, of the same name on both sides."""
_LLAMA: Final = {
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
_GPT2: Final = {
    "attention_norm": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.out": "attn.c_proj",
    "mlp_norm": "ln_2",
    "mlp.up": "mlp.c_fc",
    "mlp.down": "mlp.c_proj",
}


def weight_names(config: CausalConfig) -> Iterator[Weight]:
    """In order; a tied output layer is not stored."""
    yield from (
        _gpt2(config) if isinstance(config, GPT2Config) else _llama(config.n_layers, bias=config.qkv_bias, norm=config.qk_norm)
    )
    if not config.tied:
        yield Weight("head.weight", "lm_head.weight")


def _gpt2(config: GPT2Config) -> Iterator[Weight]:
    yield Weight("embedding.weight", "transformer.wte.weight")
    yield Weight("positions.weight", "transformer.wpe.weight")
    for layer in range(config.n_layers):
        for ours, theirs in _GPT2.items():
            yield Weight(
                f"blocks.{layer}.{ours}.weight", f"transformer.h.{layer}.{theirs}.weight", turned=not ours.endswith("_norm")
            )
            yield Weight(f"blocks.{layer}.{ours}.bias", f"transformer.h.{layer}.{theirs}.bias")
    yield Weight("norm.weight", "transformer.ln_f.weight")
    yield Weight("norm.bias", "transformer.ln_f.bias")


def _llama(n_layers: int, *, bias: bool, norm: bool) -> Iterator[Weight]:
    yield Weight("embedding.weight", "model.embed_tokens.weight")
    for layer in range(n_layers):
        for ours, theirs in _LLAMA.items():
            yield Weight(f"blocks.{layer}.{ours}.weight", f"model.layers.{layer}.{theirs}.weight")
            if bias and ours.endswith((".q", ".k", ".v")):
                yield Weight(f"blocks.{layer}.{ours}.bias", f"model.layers.{layer}.{theirs}.bias")
        if norm:
            for part in ("q_norm", "k_norm"):
                yield Weight(f"blocks.{layer}.attention.{part}.weight", f"model.layers.{layer}.self_attn.{part}.weight")
    yield Weight("norm.weight", "model.norm.weight")


def stored_name(theirs: str, stored: Mapping[str, object]) -> str:
    """As a file has it: OpenAI's own GPT-2 files leave the first word out."""
    short = theirs.removeprefix("transformer.")
    return short if theirs not in stored and short in stored else theirs


def is_table(theirs: str) -> bool:
    """What old files carry beside the weights, and any model computes anew: causal masks and rotary frequencies."""
    return theirs.endswith((".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq"))
