"""The shape of a model, its size and its cost, without loading torch: plans and forms need nothing more."""

from dataclasses import dataclass
from typing import Annotated, Literal

from infra.store.errors import InputError
from llm.config import Bounds, out_of_bounds


@dataclass(frozen=True, kw_only=True)
class _Shape:
    """What every family has."""

    vocabulary: Annotated[int, Bounds(ge=1)]
    context_length: Annotated[int, Bounds(ge=1)]
    n_layers: Annotated[int, Bounds(ge=1)]
    width: Annotated[int, Bounds(ge=1)]
    n_heads: Annotated[int, Bounds(ge=1)]
    hidden: Annotated[int, Bounds(ge=1)]
    """Width of the MLP within."""
    tied: bool = True
    """Whether the output layer is the embedding."""
    norm_epsilon: Annotated[float, Bounds(gt=0)] = 1e-5


@dataclass(frozen=True, kw_only=True)
class GPT2Config(_Shape):
    """A GPT-2 (Radford et al., 2019): pre-norm, learned positions, biases, GELU."""

    dropout: Annotated[float, Bounds(ge=0, lt=1)] = 0.0
    """Share of values left out in training, of the embedding, of attention and of what is written into the residual path."""

    def __post_init__(self) -> None:
        if self.width % self.n_heads:
            raise InputError(f"width {self.width} and {self.n_heads} heads do not divide each other", where="model")

    @property
    def n_kv_heads(self) -> int:
        return self.n_heads

    @property
    def head_width(self) -> int:
        return self.width // self.n_heads

    def parameters(self) -> int:
        """All parameters; a tied output layer counts once."""
        embeddings = self.vocabulary * (1 if self.tied else 2) + self.context_length
        return self.body_parameters() + embeddings * self.width

    def body_parameters(self) -> int:
        """All but the embeddings, of tokens and of positions, and the output layer."""
        vectors = 9 * self.width + self.hidden  # two norms of two; biases of 3, 1, hidden / width and 1
        return self._matrices() + self.n_layers * vectors + 2 * self.width

    def _matrices(self) -> int:
        return self.n_layers * (4 * self.width**2 + 2 * self.width * self.hidden)

    def flops_per_token(self, length: int) -> int:
        """FLOPs of one training token, forward and backward, in rows of `length` tokens: counted as a Llama's are."""
        return _flops(self._matrices() + self.vocabulary * self.width, self.n_layers * self.width, length)

    def kv_bytes_per_token(self, bytes_per_value: int = 2) -> int:
        """Memory of the keys and values that decoding keeps for each token."""
        return 2 * self.n_layers * self.width * bytes_per_value


@dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """Rotary positions for a longer context than the one of pretraining.

    linear: every frequency divided by `factor` (Chen et al., 2023). llama3: only the low ones, which turn less than
    `low_frequency_factor` times in the original context; those above `high_frequency_factor` stay, between them it is blended
    (Llama 3.1; Dubey et al., 2024).
    """

    kind: Literal["linear", "llama3"]
    factor: Annotated[float, Bounds(ge=1)]
    low_frequency_factor: Annotated[float, Bounds(gt=0)] = 1.0
    high_frequency_factor: Annotated[float, Bounds(gt=0)] = 4.0
    original_context_length: Annotated[int, Bounds(ge=1)] = 8192

    def __post_init__(self) -> None:
        if problems := out_of_bounds(self):
            raise InputError("; ".join(problems), where="model.rope_scaling")
        if self.high_frequency_factor <= self.low_frequency_factor:
            raise InputError(
                f"high_frequency_factor {self.high_frequency_factor} is not above low_frequency_factor {self.low_frequency_factor}",
                where="model.rope_scaling",
            )


@dataclass(frozen=True, kw_only=True)
class LlamaConfig(_Shape):
    """A Llama (Touvron et al., 2023): pre-norm, rotary positions, SwiGLU, grouped queries; Mistral and Qwen in a few fields."""

    n_kv_heads: Annotated[int, Bounds(ge=1)]
    head_width: Annotated[int, Bounds(ge=0)] = 0
    """Qwen 3 has one of its own; 0 stands for width / n_heads, and becomes that number."""
    qkv_bias: bool = False
    """Whether queries, keys and values have biases (Qwen 2)."""
    qk_norm: bool = False
    """Whether queries and keys are normalised head by head (Qwen 3; Henry et al., 2020)."""
    rope_base: Annotated[float, Bounds(gt=0)] = 10_000.0
    rope_scaling: RopeScaling | None = None
    family: Literal["", "llama", "mistral", "qwen2", "qwen3"] = ""
    """Under which name it is written for others; nothing stands for the one that the fields tell, and becomes its name."""

    def __post_init__(self) -> None:
        if self.n_heads % self.n_kv_heads or (not self.head_width and self.width % self.n_heads):
            raise InputError(
                f"width {self.width}, {self.n_heads} heads and {self.n_kv_heads} key-value heads do not divide each other",
                where="model",
            )
        told = "qwen3" if self.qk_norm else "qwen2" if self.qkv_bias else "llama"
        fitting = ("llama", "mistral") if told == "llama" else (told,)
        if (self.qkv_bias and self.qk_norm) or self.family not in ("", *fitting):
            raise InputError(
                f"no {self.family or 'model'} has qkv_bias={self.qkv_bias} and qk_norm={self.qk_norm}",
                where="model",
                mend="Biases are Qwen 2's, the norm is Qwen 3's.",
            )
        object.__setattr__(self, "family", self.family or told)
        if not self.head_width:
            object.__setattr__(self, "head_width", self.width // self.n_heads)
        if self.head_width % 2:
            raise InputError(f"heads are {self.head_width} wide: rotary positions turn pairs", where="model")

    def parameters(self) -> int:
        """All parameters; a tied output layer counts once."""
        return self.body_parameters() + self.vocabulary * self.width * (1 if self.tied else 2)

    def body_parameters(self) -> int:
        """All but the embedding and the output layer."""
        vectors = 2 * self.width
        vectors += self.qkv_bias * self.head_width * (self.n_heads + 2 * self.n_kv_heads)
        vectors += self.qk_norm * 2 * self.head_width
        return self._matrices() + self.n_layers * vectors + self.width

    def _matrices(self) -> int:
        attention = self.width * self.head_width * (2 * self.n_heads + 2 * self.n_kv_heads)
        return self.n_layers * (attention + 3 * self.width * self.hidden)

    def flops_per_token(self, length: int) -> int:
        """FLOPs of one training token, forward and backward, in rows of `length` tokens.

        6 a matrix parameter (Kaplan et al., 2020; the embedding look-up is free, the output layer is not) and
        6 · layers · heads' width · length for causal attention (half of the square; Chowdhery et al., 2022, appendix B).
        """
        heads = self.n_heads * self.head_width
        return _flops(self._matrices() + self.vocabulary * self.width, self.n_layers * heads, length)

    def kv_bytes_per_token(self, bytes_per_value: int = 2) -> int:
        """Memory of the keys and values that decoding keeps for each token."""
        return 2 * self.n_layers * self.n_kv_heads * self.head_width * bytes_per_value


CausalConfig = GPT2Config | LlamaConfig


def padded(vocabulary: int) -> int:
    """Rounded up to a multiple of 64: matrix products are faster, and no text ever uses the ids beyond."""
    return -(-vocabulary // 64) * 64


def _flops(matrices: int, attended: int, length: int) -> int:
    return 6 * matrices + 6 * attended * length
