"""The sections of the recipes: frozen dataclasses, whose field docstrings are the form's help."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from infra.store.fingerprint import RUNTIME
from llm.config import Bounds, out_of_bounds
from llm.data.config import ClassificationData
from llm.data.instruction_config import InstructionDataConfig
from llm.models.config import CausalConfig, padded
from llm.models.presets import PRESETS, preset
from llm.training import depth as dial
from llm.training.config import FinetuneConfig, TrainingConfig

FORM: dict[str, object] = {"use_attribute_docstrings": True, "extra": "forbid"}
PresetName = Literal[
    "llama-tiny",
    "llama-5m",
    "llama-14m",
    "llama2-7b",
    "llama3-8b",
    "llama3.2-1b",
    "llama3.2-3b",
    "qwen3-0.6b",
    "gpt2-tiny",
    "gpt2-10m",
    "gpt2-124m",
    "gpt2-355m",
    "gpt2-774m",
    "gpt2-1.5b",
]
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
    """Architecture and size. Not read where a depth is given."""
    depth: Annotated[int, Bounds(ge=0, le=128)] = 0
    """Or one number for all: layers of a Llama, each 64 wider. A recipe that gives it gets the batch size, the learning rate and
    the horizon that suit it, as far as it does not say them itself."""

    @property
    def name(self) -> str:
        """What a run of this model is called."""
        return f"depth-{self.depth}" if self.depth else self.preset

    def shape(self, *, vocabulary: int, context_length: int) -> CausalConfig:
        """The model's shape, with room for the tokenizer's vocabulary, and the run's row length."""
        vocabulary = padded(vocabulary)
        if self.depth:
            return dial.shape(self.depth, vocabulary=vocabulary, context_length=context_length)
        return preset(self.preset, vocabulary=vocabulary, context_length=context_length)


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
    target: Annotated[str, RUNTIME] = ""
    """Where it is deployed once it is released: a target's name. Empty: nowhere."""


@dataclass(frozen=True, kw_only=True)
class ReleaseConfig:
    """Who decides that a registered version becomes the champion."""

    __pydantic_config__: ClassVar[dict[str, object]] = FORM

    policy: Literal["automatic", "named"] = "named"
    """automatic: the gates alone. named: a person, by `slipway review`; until then the flow ends as awaiting review."""
    reviewers: tuple[str, ...] = ()
    """With policy named: who may decide, as SLIPWAY_USER says it. Empty: anyone."""

    def problems(self, where: str) -> list[str]:
        """What is wrong with the values together."""
        wrong = [name for name in self.reviewers if not name.strip() or "," in name]
        found = [f"{where}reviewers: {name!r} is no name" for name in wrong]
        if self.reviewers and self.policy == "automatic":
            found.append(f"{where}reviewers are named, but {where}policy is automatic: nobody would ask them")
        return found


@dataclass(frozen=True, kw_only=True)
class RolloutConfig:
    """How a version gets onto a target."""

    __pydantic_config__: ClassVar[dict[str, object]] = FORM

    require_golden: bool = True
    """Whether a version is refused that has no golden answers: those it gave at its evaluation, and has to give again."""
    start_seconds: Annotated[float, Bounds(gt=0)] = 300.0
    """Seconds in which the new server has to come up and give its golden answers."""
    drain_seconds: Annotated[int, Bounds(ge=0)] = 600
    """Seconds in which the old server has to end the requests it works on; then they are broken off."""


@dataclass(frozen=True, kw_only=True)
class ClassifyEvaluation:
    """What is measured of a classifier on the texts held out for testing."""

    __pydantic_config__: ClassVar[dict[str, object]] = FORM

    max_regression: Annotated[float, Bounds(ge=0, le=1)] = 0.01
    """Gate: accuracy by which the classifier may be worse than the champion on the same texts."""
    beat_majority: bool = True
    """Gate: whether it must be surely better than always naming the most frequent label."""
    golden: Annotated[int, Bounds(ge=1)] = 4
    """Texts whose answers are kept, for a deployment to compare its own with."""


@dataclass(frozen=True, kw_only=True)
class ClassifyConfig:
    """Finetuning to classify: labelled texts, how to learn from them, and what becomes of the classifier."""

    __pydantic_config__: ClassVar[dict[str, object]] = FORM

    data: ClassificationData = ClassificationData()
    """Where the labelled texts are, and what is expected of them. Without a path, nothing is classified."""
    training: FinetuneConfig = FinetuneConfig(epochs=3.0)
    """How long and how."""
    evaluation: ClassifyEvaluation = ClassifyEvaluation()
    """What is measured, and the gates."""
    name: str = "slipway-classifier"
    """The registered model's name."""
    target: str = ""
    """Where a released classifier is deployed: a target's name. Empty: nowhere."""

    def problems(self, where: str = "classify.") -> list[str]:
        """Everything that is wrong with it, one phrase each."""
        return [
            *out_of_bounds(self.data, f"{where}data."),
            *self.data.expectations.problems(f"{where}data.expectations."),
            *out_of_bounds(self.evaluation, f"{where}evaluation."),
            *self.training.problems(f"{where}training."),
            *([f"{where}training.pack is set, and texts that are classified are never packed"] if self.training.pack else []),
        ]


@dataclass(frozen=True, kw_only=True)
class InstructEvaluation:
    """What is measured of an assistant on the questions held out for testing."""

    __pydantic_config__: ClassVar[dict[str, object]] = FORM

    max_rows: Annotated[int, Bounds(ge=2)] = 1_000
    """Held-out questions to score at most; of more, they are taken evenly."""
    answers: Annotated[int, Bounds(ge=1)] = 32
    """Of these, how many the assistant answers itself."""
    max_tokens: Annotated[int, Bounds(ge=1)] = 96
    """Tokens of such an answer at most: by then it should have come to an end."""
    min_words: Annotated[int, Bounds(ge=0)] = 8
    """Words of an answer at least; where held-out answers are shorter, as many as half of them have."""
    min_ending_share: Annotated[float, Bounds(ge=0, le=1)] = 0.6
    """Gate: share of its answers that must end by themselves, with so many words."""
    max_regression: Annotated[float, Bounds(ge=0)] = 0.01
    """Gate: bits per byte by which its answers may be worse than the champion's on the same questions."""
    golden: Annotated[int, Bounds(ge=1)] = 4
    """Questions whose answers are kept, for a deployment to compare its own with."""


@dataclass(frozen=True, kw_only=True)
class InstructConfig:
    """Finetuning to answer: questions with answers, how to learn from them, and what becomes of the assistant."""

    __pydantic_config__: ClassVar[dict[str, object]] = FORM

    data: InstructionDataConfig = InstructionDataConfig()
    """Where the questions and answers are, and what is expected of them. Without a path, no assistant is made."""
    training: FinetuneConfig = FinetuneConfig(epochs=3.0)
    """How long and how."""
    evaluation: InstructEvaluation = InstructEvaluation()
    """What is measured, and the gates."""
    name: str = "slipway-assistant"
    """The registered model's name."""
    target: str = ""
    """Where a released assistant is deployed: a target's name. Empty: nowhere."""

    def problems(self, where: str = "instruct.") -> list[str]:
        """Everything that is wrong with it, one phrase each."""
        return [
            *out_of_bounds(self.data, f"{where}data."),
            *self.data.expectations.problems(f"{where}data.expectations."),
            *out_of_bounds(self.evaluation, f"{where}evaluation."),
            *self.training.problems(f"{where}training."),
        ]
