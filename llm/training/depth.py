"""One dial: from the depth of a model its whole shape, and the batch size, learning rate and horizon that suit it.

Loads without torch.
"""

from dataclasses import dataclass
from typing import Final

from llm.models.config import CausalConfig, LlamaConfig

HORIZON: Final = 20.0  # tokens for each parameter at the least compute for a loss (Hoffmann et al., 2022)
_ASPECT: Final = 64  # width for each layer (Karpathy's nanochat, 2025)
_WIDE: Final = 1024  # from here on heads are 128 wide instead of 64
_UNTIED: Final = 1536  # a width whose output layer is small beside the blocks: it gets weights of its own
_HIGHEST_RATE: Final = 0.01  # the law was fitted on 60 million parameters and more, and goes too high below


@dataclass(frozen=True)
class Settings:
    """How a model of some depth is trained. batch_size in rows of the sequence length."""

    batch_size: int
    learning_rate: float
    tokens_per_parameter: float


def shape(depth: int, *, vocabulary: int, context_length: int) -> LlamaConfig:
    """A Llama of `depth` layers, each 64 wider: heads of 64 (128 in wide models), SwiGLU of 8/3 the width in steps of 64."""
    width = _ASPECT * depth
    head = 128 if width >= _WIDE and width % 128 == 0 else 64
    return LlamaConfig(
        vocabulary=vocabulary,
        context_length=context_length,
        n_layers=depth,
        width=width,
        n_heads=width // head,
        n_kv_heads=width // head,
        hidden=-(-width * 8 // 3 // 64) * 64,
        tied=width < _UNTIED,
    )


def settings(
    model: CausalConfig, *, sequence_length: int, tokens_per_parameter: float = HORIZON, steps: int = 0, batch_size: int = 0
) -> Settings:
    """Batch size and learning rate by the Step Law (Li et al., 2025), of N parameters in the blocks and D tokens trained on.

    The batch is 0.58 · D^0.571 tokens, as a power of two rows; the learning rate 1.79 · N^-0.713 · D^0.307. Muon's updates are
    as long as AdamW's, so that one rate serves both.

    steps: where they say how long, in the place of tokens per parameter. batch_size: rows, where they are given; then the rate
    goes with the root of how much larger or smaller they are than the law's (Malladi et al., 2022).
    """
    if steps and batch_size:
        tokens = float(steps * batch_size * sequence_length)
    elif steps:
        tokens = steps * (0.58 * steps**0.571) ** (1 / (1 - 0.571))  # the batch that is its own law's: B = 0.58 · (steps · B)^0.571
    else:
        tokens = tokens_per_parameter * model.parameters()
    fitting = 1 << _nearest_power(0.58 * tokens**0.571 / sequence_length)
    rows = batch_size or fitting
    rate = min(_HIGHEST_RATE, 1.79 * model.body_parameters() ** -0.713 * tokens**0.307) * (rows / fitting) ** 0.5
    return Settings(rows, float(f"{rate:.2g}"), tokens / model.parameters())


def _nearest_power(value: float) -> int:
    """Of the power of two that is nearest to a value, by ratio; 0 at least."""
    power = 0
    while value > 2 ** (power + 0.5):
        power += 1
    return power
