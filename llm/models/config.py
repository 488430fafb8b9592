"""The shape of a model, its size and its cost, without loading torch: plans and forms need nothing more."""

from dataclasses import dataclass, replace
from typing import Annotated, Final

from infra.store.errors import InputError
from llm.config import Bounds


@dataclass(frozen=True, kw_only=True)
class LlamaConfig:
    """A Llama (Touvron et al., 2023): pre-norm, rotary positions, SwiGLU, grouped queries."""

    vocabulary: Annotated[int, Bounds(ge=1)]
    context_length: Annotated[int, Bounds(ge=1)]
    n_layers: Annotated[int, Bounds(ge=1)]
    width: Annotated[int, Bounds(ge=1)]
    n_heads: Annotated[int, Bounds(ge=1)]
    n_kv_heads: Annotated[int, Bounds(ge=1)]
    hidden: Annotated[int, Bounds(ge=1)]
    tied: bool = True
    rope_base: Annotated[float, Bounds(gt=0)] = 10_000.0
    norm_epsilon: Annotated[float, Bounds(gt=0)] = 1e-5

    def __post_init__(self) -> None:
        if self.width % self.n_heads or self.n_heads % self.n_kv_heads:
            raise InputError(
                f"width {self.width}, {self.n_heads} heads and {self.n_kv_heads} key-value heads do not divide each other",
                where="model",
            )

    @property
    def head_width(self) -> int:
        return self.width // self.n_heads

    def parameters(self) -> int:
        """All parameters; a tied output layer counts once."""
        return self.body_parameters() + self.vocabulary * self.width * (1 if self.tied else 2)

    def body_parameters(self) -> int:
        """All but the embedding and the output layer."""
        attention = self.width * self.head_width * (2 * self.n_heads + 2 * self.n_kv_heads)
        layer = attention + 3 * self.width * self.hidden + 2 * self.width
        return self.n_layers * layer + self.width

    def flops_per_token(self, length: int) -> int:
        """FLOPs of one training token, forward and backward, in rows of `length` tokens.

        6 a matrix parameter (Kaplan et al., 2020; the embedding look-up is free, the output layer is not) and
        6 · layers · width · length for causal attention (half of the square; Chowdhery et al., 2022, appendix B).
        """
        matrices = self.body_parameters() - (2 * self.n_layers + 1) * self.width + self.vocabulary * self.width
        return 6 * matrices + 6 * self.n_layers * self.width * length

    def kv_bytes_per_token(self, bytes_per_value: int = 2) -> int:
        """Memory of the keys and values that decoding keeps for each token."""
        return 2 * self.n_layers * self.n_kv_heads * self.head_width * bytes_per_value


PRESETS: Final[dict[str, LlamaConfig]] = {
    "llama-tiny": LlamaConfig(vocabulary=512, context_length=64, n_layers=2, width=64, n_heads=4, n_kv_heads=2, hidden=176),
    "llama-5m": LlamaConfig(vocabulary=4096, context_length=256, n_layers=6, width=256, n_heads=4, n_kv_heads=2, hidden=704),
    "llama-14m": LlamaConfig(vocabulary=4096, context_length=256, n_layers=6, width=384, n_heads=6, n_kv_heads=6, hidden=1024),
}


def preset(name: str, *, vocabulary: int, context_length: int) -> LlamaConfig:
    """The named preset with the tokenizer's vocabulary and the run's row length. Raises InputError on an unknown name."""
    if name not in PRESETS:
        raise InputError(f"no model preset {name!r}", where="model.preset", mend=f"Choose one of {', '.join(PRESETS)}.")
    return replace(PRESETS[name], vocabulary=vocabulary, context_length=context_length)
