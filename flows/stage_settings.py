"""What each stage is identified by: those of the recipe's settings that bear on its result, and what it has to know beside them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from flows.recipes.sections import RolloutConfig, TokenizerConfig
from infra.store.fingerprint import RUNTIME
from llm.data.cleaning.config import CleaningConfig
from llm.data.config import ClassificationData, DataConfig
from llm.data.expectations import Expectations, LabelExpectations
from llm.data.instruction_config import InstructionDataConfig, InstructionExpectations
from llm.data.mixing import Total


@dataclass(frozen=True)
class Gathering:
    """What of the data's settings bears on gathering and judging it; the split and the weights do not.

    columns: of the text, by the name of the source. cleaning: the rules in force, whether said or meant by the sources.
    """

    data: Annotated[DataConfig, RUNTIME]
    columns: Mapping[str, str]
    max_document_bytes: int
    cleaning: CleaningConfig
    expectations: Expectations


@dataclass(frozen=True)
class Splits:
    """What of the data's settings bears on preparing it."""

    tokenizer: TokenizerConfig | None
    validation_share: float
    test_share: float
    weights: Mapping[str, float]
    mix: Total
    name: Annotated[str, RUNTIME]


@dataclass(frozen=True)
class Labelling:
    """What of the settings bears on gathering labelled texts; those of the standard library are cut and split as its documents."""

    data: Annotated[ClassificationData, RUNTIME]
    corpus: Annotated[DataConfig, RUNTIME]
    text_column: str
    label_column: str
    on_invalid: str
    cleaning: CleaningConfig
    max_document_bytes: int
    validation_share: float
    test_share: float
    expectations: LabelExpectations


@dataclass(frozen=True)
class Asking:
    """What of the settings bears on gathering instructions; those about the standard library are split as its documents."""

    data: Annotated[InstructionDataConfig, RUNTIME]
    corpus: Annotated[DataConfig, RUNTIME]
    on_invalid: str
    cleaning: CleaningConfig
    max_document_bytes: int
    validation_share: float
    test_share: float
    expectations: InstructionExpectations


@dataclass(frozen=True)
class BaseFolder:
    """A model outside the store; its content version is an input. source, revision: on the hub; of a folder its name alone.

    A folder may lie anywhere under any name; what it was on the hub, and under which licence, belongs to what is known of it.
    """

    folder: Annotated[str, RUNTIME]
    source: Annotated[str, RUNTIME]
    hub: str
    revision: str
    licence: str
    layout: str
    files: Annotated[Mapping[str, str], RUNTIME]


@dataclass(frozen=True)
class RegisteringImport:
    """Under which name an imported model is registered."""

    name: str


@dataclass(frozen=True)
class Releasing:
    """What of a release bears on its result; which number the version has does not, its package does."""

    name: str
    policy: str
    reviewers: tuple[str, ...]
    model: Annotated[str, RUNTIME]


@dataclass(frozen=True)
class Reviewing:
    """A person's decision."""

    model: str
    decision: str
    reason: str
    reviewer: str


@dataclass(frozen=True)
class Deploying:
    """What of a deployment bears on its result: where, and which version. Its package and evidence are inputs.

    again: also where a rollback took this package away; a person's word, never a pipeline's.
    """

    target: str
    model: str
    rollout: Annotated[RolloutConfig, RUNTIME]
    reason: Annotated[str, RUNTIME]
    again: Annotated[bool, RUNTIME]


@dataclass(frozen=True)
class RollingBack:
    """A way back. What serves now is its input: the same way is never gone twice."""

    target: str
    reason: Annotated[str, RUNTIME]
