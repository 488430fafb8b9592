"""One recipe class a flow. Sections are the frozen dataclasses of `llm`; their field docstrings are the form's help."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from llm.config import Bounds, out_of_bounds
from llm.data.config import DataConfig
from llm.models.config import PRESETS
from llm.training.config import TrainingConfig

FORM: dict[str, object] = {"use_attribute_docstrings": True, "extra": "forbid"}
PresetName = Literal["llama-tiny", "llama-5m", "llama-14m"]
assert set(PRESETS) == set(PresetName.__args__)  # type: ignore[attr-defined]


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """The tokenizer that is trained on the training documents."""

    __pydantic_config__: ClassVar[dict[str, object]] = FORM

    vocabulary: Annotated[int, Bounds(ge=260, le=1_000_000)] = 4096
    """Tokens at most: 256 bytes, the control tokens, and merges of frequent pairs."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The model that is trained."""

    __pydantic_config__: ClassVar[dict[str, object]] = FORM

    preset: PresetName = "llama-5m"
    """Architecture and size."""


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """Pretraining: which model, and how long."""

    __pydantic_config__: ClassVar[dict[str, object]] = FORM

    model: ModelConfig = ModelConfig()
    """The model that is trained."""
    training: TrainingConfig = TrainingConfig(epochs=1.0)
    """How long and how."""


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What is measured on the documents held out for testing."""

    __pydantic_config__: ClassVar[dict[str, object]] = FORM

    prompts: tuple[str, ...] = ()
    """Beginnings that the model continues, for people to read. Empty: those of three held-out documents."""
    new_tokens: Annotated[int, Bounds(ge=1)] = 40
    """Tokens of each continuation."""
    max_bytes: Annotated[int, Bounds(ge=1)] = 1_000_000
    """Held-out text to score at most, in bytes; of more, documents are taken evenly."""
    max_regression: Annotated[float, Bounds(ge=0)] = 0.01
    """Gate: bits per byte by which the model may be worse than the champion on the same documents."""
    beat_ngram: bool = False
    """Gate: whether the model must predict held-out documents better than an order-3 n-gram model does."""


@dataclass(frozen=True, kw_only=True)
class RegistrationConfig:
    """Under which name the model is registered."""

    __pydantic_config__: ClassVar[dict[str, object]] = FORM

    name: str = "slipway"
    """The registered model's name."""


class Recipe(BaseModel):
    """What every recipe is: frozen, complete, and nothing in it that nobody reads."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    def problems(self) -> list[str]:
        """All that is wrong with the values together, one phrase each."""
        return []


class ValidateDataRecipe(Recipe):
    """Gather documents and judge them."""

    data: DataConfig = Field(default=DataConfig(), title="Data", json_schema_extra={"position": 0})
    """Where the text is, and what is expected of it."""

    def problems(self) -> list[str]:
        return [*super().problems(), *out_of_bounds(self.data, "data.")]


class PrepareDataRecipe(ValidateDataRecipe):
    """Train a tokenizer and write token shards."""

    tokenizer: TokenizerConfig = Field(default=TokenizerConfig(), title="Tokenizer", json_schema_extra={"position": 1})
    """How text becomes tokens."""

    def problems(self) -> list[str]:
        return [*super().problems(), *out_of_bounds(self.tokenizer, "tokenizer.")]


class PretrainRecipe(PrepareDataRecipe):
    """Pretrain a model from scratch."""

    model: ModelConfig = Field(default=ModelConfig(), title="Model", json_schema_extra={"position": 2})
    """The model that is trained."""
    training: TrainingConfig = Field(default=TrainingConfig(epochs=1.0), title="Training", json_schema_extra={"position": 3})
    """How long and how."""

    def problems(self) -> list[str]:
        return [*super().problems(), *self.training.problems("training.")]

    @property
    def pretrain(self) -> PretrainConfig:
        return PretrainConfig(model=self.model, training=self.training)


class EvaluateRecipe(PrepareDataRecipe):
    """Measure a model on held-out documents: the one that `pretrain` describes, or `base`."""

    base: str = Field(default="", title="Base model", json_schema_extra={"position": 2})
    """An existing model in the place of pretraining: models:/NAME/VERSION, models:/NAME@ALIAS or a model folder."""
    pretrain: PretrainConfig = Field(default=PretrainConfig(), title="Pretraining", json_schema_extra={"position": 3})
    """Which model is pretrained, and how long. Not read where a base model is given."""
    evaluation: EvaluationConfig = Field(default=EvaluationConfig(), title="Evaluation", json_schema_extra={"position": 4})
    """What is measured, and the gates."""

    def problems(self) -> list[str]:
        training = [] if self.base else self.pretrain.training.problems("pretrain.training.")
        return [*super().problems(), *training, *out_of_bounds(self.evaluation, "evaluation.")]


class RegisterRecipe(EvaluateRecipe):
    """Register a measured model as a candidate."""

    registration: RegistrationConfig = Field(default=RegistrationConfig(), title="Registration", json_schema_extra={"position": 5})
    """Under which name."""

    def problems(self) -> list[str]:
        return [*super().problems(), *out_of_bounds(self.registration, "registration.")]


class LifecycleRecipe(RegisterRecipe):
    """The whole way, from text to a registered model."""
