"""One recipe class a flow. Sections are the frozen dataclasses of `llm`; their field docstrings are the form's help."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from infra.store.fingerprint import RUNTIME
from infra.targets.naming import MEND, is_target
from llm.config import Bounds, out_of_bounds
from llm.data.config import PYTHON_STDLIB, ClassificationData, DataConfig
from llm.data.instruction_config import InstructionDataConfig
from llm.models.config import PRESETS
from llm.training.config import FinetuneConfig, TrainingConfig

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
            *out_of_bounds(self.evaluation, f"{where}evaluation."),
            *self.training.problems(f"{where}training."),
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
            *out_of_bounds(self.evaluation, f"{where}evaluation."),
            *self.training.problems(f"{where}training."),
        ]


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


class BaseModelRecipe(PrepareDataRecipe):
    """What takes a base model: the one that `pretrain` describes, or `base`."""

    base: str = Field(default="", title="Base model", json_schema_extra={"position": 2})
    """An existing model in the place of pretraining: models:/NAME/VERSION, models:/NAME@ALIAS or a model folder."""
    pretrain: PretrainConfig = Field(default=PretrainConfig(), title="Pretraining", json_schema_extra={"position": 3})
    """Which model is pretrained, and how long. Not read where a base model is given."""

    def problems(self) -> list[str]:
        return [*super().problems(), *([] if self.base else self.pretrain.training.problems("pretrain.training."))]


class FinetuneClassifyRecipe(BaseModelRecipe):
    """Finetune a base model to classify texts, measure it and register it."""

    classify: ClassifyConfig = Field(
        default=ClassifyConfig(data=ClassificationData(path=PYTHON_STDLIB)),
        title="Classification",
        json_schema_extra={"position": 4},
    )
    """The labelled texts, and how to learn from them."""

    def problems(self) -> list[str]:
        where = "classify.data.path is empty: give a .jsonl, .csv or .tsv file of labelled texts, or python-stdlib"
        return [*super().problems(), *self.classify.problems(), *([] if self.classify.data.path else [where])]


class FinetuneInstructRecipe(BaseModelRecipe):
    """Finetune a base model to answer questions, measure it and register it."""

    instruct: InstructConfig = Field(
        default=InstructConfig(data=InstructionDataConfig(path=PYTHON_STDLIB)),
        title="Instructions",
        json_schema_extra={"position": 4},
    )
    """The questions and answers, and how to learn from them."""

    def problems(self) -> list[str]:
        where = "instruct.data.path is empty: give a .jsonl or .json file of instructions or chats, or python-stdlib"
        return [*super().problems(), *self.instruct.problems(), *([] if self.instruct.data.path else [where])]


class EvaluateRecipe(BaseModelRecipe):
    """Measure a model on held-out documents: the one that `pretrain` describes, or `base`."""

    evaluation: EvaluationConfig = Field(default=EvaluationConfig(), title="Evaluation", json_schema_extra={"position": 4})
    """What is measured, and the gates."""

    def problems(self) -> list[str]:
        return [*super().problems(), *out_of_bounds(self.evaluation, "evaluation.")]


class RegisterRecipe(EvaluateRecipe):
    """Register a measured model as a candidate."""

    registration: RegistrationConfig = Field(default=RegistrationConfig(), title="Registration", json_schema_extra={"position": 5})
    """Under which name."""

    def problems(self) -> list[str]:
        return [*super().problems(), *out_of_bounds(self.registration, "registration.")]


class LifecycleRecipe(RegisterRecipe):
    """The whole way, from text to a released model."""

    classify: ClassifyConfig = Field(default=ClassifyConfig(), title="Classification", json_schema_extra={"position": 6})
    """Finetuning the model to classify texts."""
    instruct: InstructConfig = Field(default=InstructConfig(), title="Instructions", json_schema_extra={"position": 7})
    """Finetuning the model to answer questions."""
    release: ReleaseConfig = Field(default=ReleaseConfig(), title="Release", json_schema_extra={"position": 20})
    """Who decides that the model becomes the champion."""

    def problems(self) -> list[str]:
        target = _target_problems(self.registration.target, "registration.") if self.registration.target else []
        return [*super().problems(), *target, *_task_problems(self), *self.release.problems("release.")]

    def includes(self, task: ClassifyConfig | InstructConfig) -> bool:
        """Whether a task is on. Those on python-stdlib are about text that the model has read: with other text they are off."""
        return bool(task.data.path) and (task.data.path != PYTHON_STDLIB or self.data.path == PYTHON_STDLIB)


class AdaptRecipe(Recipe):
    """Finetune an existing model on rows of your own, release and deploy it."""

    base: str = Field(title="Base model", min_length=1, json_schema_extra={"position": 0})
    """models:/NAME/VERSION, models:/NAME@ALIAS or a model folder."""
    classify: ClassifyConfig = Field(default=ClassifyConfig(), title="Classification", json_schema_extra={"position": 1})
    """Labelled texts, where it is to classify."""
    instruct: InstructConfig = Field(default=InstructConfig(), title="Instructions", json_schema_extra={"position": 2})
    """Questions with answers, where it is to answer."""
    release: ReleaseConfig = Field(default=ReleaseConfig(policy="automatic"), title="Release", json_schema_extra={"position": 3})
    """Who decides that the model becomes the champion."""

    def problems(self) -> list[str]:
        nothing = "neither classify.data.path nor instruct.data.path names rows to learn from"
        found = [] if self.classify.data.path or self.instruct.data.path else [nothing]
        return [*super().problems(), *found, *_task_problems(self), *self.release.problems("release.")]


class ReleaseRecipe(Recipe):
    """Decide whether a registered version becomes the champion."""

    model: str = Field(title="Model version", min_length=1, json_schema_extra={"position": 0})
    """Which: models:/NAME/VERSION or models:/NAME@ALIAS."""
    release: ReleaseConfig = Field(default=ReleaseConfig(), title="Release", json_schema_extra={"position": 1})
    """Who decides."""

    def problems(self) -> list[str]:
        return [*super().problems(), *self.release.problems("release.")]


class ReviewRecipe(Recipe):
    """A person's decision on a registered version."""

    model: str = Field(title="Model version", min_length=1, json_schema_extra={"position": 0})
    """Which: models:/NAME/VERSION, as the list of candidates shows it."""
    decision: Literal["approve", "reject"] = Field(title="Decision", json_schema_extra={"position": 1})
    """approve: it becomes the champion, which others are told to use. reject: it does not; nothing is deleted."""
    reason: str = Field(title="Reason", min_length=1, pattern=r"\S", json_schema_extra={"position": 2})
    """Why, in a sentence. It stands in the ledger for good."""
    reviewer: str = Field(default="", title="Your name", json_schema_extra={"position": 3})
    """Who decides, for the ledger. Empty: the user under whom this runs."""


class DeployRecipe(Recipe):
    """Put an approved version on a target; what serves there goes on until the new one answers."""

    model: str = Field(title="Model version", min_length=1, json_schema_extra={"position": 0})
    """Which: models:/NAME@champion, or models:/NAME/VERSION of an approved version."""
    target: str = Field(default="local", title="Target", json_schema_extra={"position": 1})
    """Where: `local`, or `local-NAME` for a further one on this machine, with a port of its own."""
    reason: str = Field(default="", title="Reason", json_schema_extra={"position": 2})
    """Why, in a sentence. It stands in the ledger."""
    rollout: RolloutConfig = Field(default=RolloutConfig(), title="Rollout", json_schema_extra={"position": 3})
    """How the change is made."""

    def problems(self) -> list[str]:
        return [*super().problems(), *_target_problems(self.target), *out_of_bounds(self.rollout, "rollout.")]


class RollbackRecipe(Recipe):
    """Put the version before back on a target."""

    target: str = Field(default="local", title="Target", json_schema_extra={"position": 0})
    """Where."""
    reason: str = Field(default="", title="Reason", json_schema_extra={"position": 1})
    """Why, in a sentence. It stands in the ledger."""

    def problems(self) -> list[str]:
        return [*super().problems(), *_target_problems(self.target)]


def _task_problems(recipe: LifecycleRecipe | AdaptRecipe) -> list[str]:
    """Of the tasks that are on."""
    tasks = [(name, task) for name, task in (("classify", recipe.classify), ("instruct", recipe.instruct)) if task.data.path]
    targets = [_target_problems(task.target, f"{name}.") for name, task in tasks if task.target]
    return [problem for found in [*(task.problems() for _, task in tasks), *targets] for problem in found]


def _target_problems(target: str, where: str = "") -> list[str]:
    return [] if is_target(target) else [f"{where}target is {target!r}: {MEND[0].lower()}{MEND[1:-1]}"]
