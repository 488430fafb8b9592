"""How fast others trained on many GPUs, to hold `llm.training.scale_plan` against. Loads without torch.

All on H100s in bf16. LLM Foundry and torchtitan count attention's whole square, we count the causal half: so tokens a second are
compared, never MFU.
"""

from dataclasses import dataclass
from typing import Final

from llm.models.config import CausalConfig, GPT2Config, LlamaConfig
from llm.models.presets import PRESETS
from llm.training.config import Checkpointing
from llm.training.scale_plan import USUAL, Layout, Load


def _llama3(n_layers: int, width: int, n_heads: int, hidden: int) -> LlamaConfig:
    return LlamaConfig(
        vocabulary=128_256,
        context_length=8192,
        n_layers=n_layers,
        width=width,
        n_heads=n_heads,
        n_kv_heads=8,
        hidden=hidden,
        tied=False,
        rope_base=500_000.0,
    )


LLAMA3_70B: Final = _llama3(80, 8192, 64, 28_672)  # Dubey et al., 2024, table 3
LLAMA3_405B: Final = _llama3(126, 16_384, 128, 53_248)
_SHAPES: Final = {"1B": (24, 2048, 16), "3B": (32, 2560, 32), "7B": (32, 4096, 32), "13B": (40, 5120, 40), "70B": (80, 8192, 64)}
_FOUNDRY: Final = "LLM Foundry"
_TITAN: Final = "torchtitan"


@dataclass(frozen=True)
class PublishedSpeed:
    """`tokens_per_second` of one GPU. margin: how far off the plan may be. fitted: the plan's constants were set by it."""

    source: str
    name: str
    model: CausalConfig
    load: Load
    layout: Layout
    tokens_per_second: float
    margin: float = 0.10
    fitted: bool = False


def _mpt(
    name: str, gpus: int, rows: int, tokens: int, again: Checkpointing = "none", *, whole: bool = False, fitted: bool = False
) -> PublishedSpeed:
    """A row of LLM Foundry's scripts/train/benchmarking/README.md: MPT, rows of 2,048. whole: SHARD_GRAD_OP."""
    n_layers, width, n_heads = _SHAPES[name]
    model = GPT2Config(vocabulary=50_368, context_length=2048, n_layers=n_layers, width=width, n_heads=n_heads, hidden=4 * width)
    load = Load(rows=rows, length=2048, checkpointing=again, regather=not whole)
    return PublishedSpeed(_FOUNDRY, f"MPT {name}", model, load, Layout(gpus=gpus, ways=USUAL), tokens, fitted=fitted)


def _llama405(gpus: int, rows: int, teraflops: float, *, fitted: bool = False) -> PublishedSpeed:
    """Dubey et al., 2024, table 4. Model chunks of a pipeline stage: one for each of its layers, our reading of section 3.3.2."""
    load = Load(rows=1, length=8192, micro_batches=rows, regather=False)
    layout = Layout(gpus=gpus, tensor=8, pipeline=16, chunks=8, ways=USUAL)
    speed = teraflops * 1e12 / LLAMA3_405B.flops_per_token(8192)
    return PublishedSpeed("Llama 3", "Llama 3 405B", LLAMA3_405B, load, layout, speed, fitted=fitted)


def _titan(gpus: int, rows: int, tokens: int, *, tensor: int = 1) -> PublishedSpeed:
    """Compiled, bf16, every other product computed again. Its H100s were held to 500 W and have slower memory: a wide margin."""
    load = Load(rows=rows, length=8192, checkpointing="selective", again=1 / 6)
    return PublishedSpeed(
        _TITAN, "Llama 3.1 8B", PRESETS["llama3-8b"], load, Layout(gpus=gpus, tensor=tensor, ways=USUAL), tokens, 0.25
    )


_NANOCHAT: Final = PublishedSpeed(  # its largest miss: compiled whole, FlashAttention 3, where the constants are of eager runs
    "nanochat",
    "d24",
    GPT2Config(vocabulary=32_768, context_length=2048, n_layers=24, width=1536, n_heads=12, hidden=6144),
    Load(rows=32, length=2048),
    Layout(gpus=8, parallel="ddp", ways=USUAL),
    100_000,
    0.35,
)

PUBLISHED_SPEEDS: Final = (
    _mpt("1B", 8, 14, 45_455, fitted=True),
    _mpt("1B", 64, 20, 44_402),
    _mpt("1B", 128, 12, 44_123, whole=True),
    _mpt("1B", 512, 12, 39_837, whole=True),
    _mpt("3B", 128, 8, 23_422, whole=True),
    _mpt("3B", 512, 8, 21_664, whole=True),
    _mpt("7B", 8, 6, 10_643, fitted=True),
    _mpt("7B", 128, 6, 10_475, fitted=True),
    _mpt("7B", 256, 6, 10_119),
    _mpt("7B", 512, 6, 9_670, fitted=True),
    _mpt("13B", 64, 2, 4_800),
    _mpt("13B", 512, 16, 4_952, "full"),
    _mpt("70B", 128, 8, 1_058, "full", fitted=True),
    _mpt("70B", 512, 8, 1_007, "full"),
    _titan(8, 2, 6_667),
    _titan(128, 2, 6_514),
    _titan(64, 12, 4_378, tensor=8),
    _llama405(8_192, 32, 430, fitted=True),
    _llama405(16_384, 16, 400),
    _NANOCHAT,
)
