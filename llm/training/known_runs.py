"""How many tokens a parameter known models have read, to hold a plan beside. Loads without torch."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class KnownRun:
    model: str
    parameters: float
    tokens: float
    source: str

    @property
    def tokens_per_parameter(self) -> float:
        return self.tokens / self.parameters


KNOWN_RUNS: Final = (
    KnownRun("GPT-3 175B", 175e9, 300e9, "Brown et al., 2020: 300B tokens, of a corpus of 500B"),
    KnownRun("Chinchilla 70B", 70e9, 1.4e12, "Hoffmann et al., 2022: the least loss for its compute"),
    KnownRun("Llama 2 7B", 6.74e9, 2e12, "Touvron et al., 2023"),
    KnownRun("Llama 3 8B", 8.03e9, 15e12, "Dubey et al., 2024"),
)


def meaning(tokens_per_parameter: float) -> str:
    """What so many tokens a parameter say about a run, in one line."""
    if tokens_per_parameter < 10:
        return "far fewer than 20: a smaller model on more tokens would end with a lower loss for the same compute"
    if tokens_per_parameter < 40:
        return "near 20, where the loss is the least for the compute (Hoffmann et al., 2022)"
    if tokens_per_parameter < 3000:
        return "more than 20: a larger model would end lower for the same compute; this one is the cheaper to serve"
    return "far more than any known run: a larger model would end much lower for the same compute"
