"""One recipe class a flow, made of the sections of `flows.recipes.sections` and of `llm`'s own configurations."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from flows.recipes.sections import (
    ClassifyConfig,
    EvaluationConfig,
    InstructConfig,
    ModelConfig,
    PretrainConfig,
    RegistrationConfig,
    ReleaseConfig,
    RolloutConfig,
    TokenizerConfig,
)
from infra.targets.naming import MEND, is_target
from llm.config import out_of_bounds
from llm.data.config import PYTHON_STDLIB, ClassificationData, DataConfig
from llm.data.instruction_config import InstructionDataConfig
from llm.training.config import TrainingConfig


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
        return [*super().problems(), *self.data.problems()]


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
        return [*super().problems(), *out_of_bounds(self.model, "model."), *self.training.problems("training.")]

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
        pretraining = [
            *out_of_bounds(self.pretrain.model, "pretrain.model."),
            *self.pretrain.training.problems("pretrain.training."),
        ]
        return [*super().problems(), *([] if self.base else pretraining)]


class FinetuneClassifyRecipe(BaseModelRecipe):
    """Finetune a base model to classify texts, measure it and register it."""

    classify: ClassifyConfig = Field(
        default=ClassifyConfig(data=ClassificationData(path=PYTHON_STDLIB)),
        title="Classification",
        json_schema_extra={"position": 4},
    )
    """The labelled texts, and how to learn from them."""

    def problems(self) -> list[str]:
        where = "classify.data.path is empty: give labelled texts, or python-stdlib"
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
        where = "instruct.data.path is empty: give instructions or chats, or python-stdlib"
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


class ReconcileRecipe(Recipe):
    """Find what a dead process left in Prefect, in MLflow and in the store, and put it right."""

    silence_minutes: float = Field(default=5.0, gt=0, title="Silence", json_schema_extra={"position": 0})
    """Minutes since the lease of a process on another machine ran out, before it is taken for dead. Here it is looked at itself."""


def _task_problems(recipe: LifecycleRecipe | AdaptRecipe) -> list[str]:
    """Of the tasks that are on."""
    tasks = [(name, task) for name, task in (("classify", recipe.classify), ("instruct", recipe.instruct)) if task.data.path]
    targets = [_target_problems(task.target, f"{name}.") for name, task in tasks if task.target]
    return [problem for found in [*(task.problems() for _, task in tasks), *targets] for problem in found]


def _target_problems(target: str, where: str = "") -> list[str]:
    return [] if is_target(target) else [f"{where}target is {target!r}: {MEND[0].lower()}{MEND[1:-1]}"]
