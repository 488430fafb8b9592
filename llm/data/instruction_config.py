"""Which instructions a model is finetuned on, and what is expected of them. Loads without any heavy library."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from infra.store.fingerprint import RUNTIME
from llm.config import Bounds
from llm.data.cleaning.config import CleaningConfig
from llm.data.config import EXAMPLES, dataset_name
from llm.data.expectations import DataExpectations


@dataclass(frozen=True, kw_only=True)
class InstructionExpectations(DataExpectations):
    """What instructions must be like. `min_X` and `max_X` bound the number X of their profile; shares are between 0 and 1."""

    __pydantic_config__: ClassVar[dict[str, object]] = {"use_attribute_docstrings": True, "extra": "forbid"}

    max_rejected_share: Annotated[float, Bounds(ge=0, le=1)] = 0.2
    """Rows that were left out, for whatever reason."""
    min_rows: Annotated[int, Bounds(ge=3)] = 30
    """Rows that are left to learn from and to test on."""
    max_invalid_share: Annotated[float, Bounds(ge=0, le=1)] = 0.1
    """Rows that were left out because something in them is wrong."""
    max_empty_answer_share: Annotated[float, Bounds(ge=0, le=1)] = 0.05
    """Rows that were left out because their answer is empty."""
    max_duplicate_share: Annotated[float, Bounds(ge=0, le=1)] = 0.2
    """Rows that were left out because an earlier one has the same question and answer."""
    min_mean_answer_bytes: Annotated[float, Bounds(ge=0)] = 2.0
    """Mean length of an answer, in UTF-8 bytes."""
    max_longest_answer_bytes: Annotated[int, Bounds(ge=1)] = 100_000
    """Length of the longest answer, in UTF-8 bytes."""


@dataclass(frozen=True, kw_only=True)
class InstructionDataConfig:
    """Where the questions and answers are, and what is expected of them."""

    __pydantic_config__: ClassVar[dict[str, object]] = {"use_attribute_docstrings": True, "extra": "forbid"}

    path: Annotated[str, RUNTIME] = ""
    """Rows of Alpaca fields, chat messages or ShareGPT conversations, in the grammar of `data.path`; or python-stdlib, questions
    about what every Python carries. Empty: no assistant is made."""
    on_invalid: Literal["refuse", "drop"] = "refuse"
    """What to do with a row in which something is wrong: refuse them all, naming the first, or leave the wrong ones out."""
    name: Annotated[str, RUNTIME] = ""
    """The dataset's name: a-z, 0-9 and hyphens. Left empty, it is made from the path."""
    validation_share: Annotated[float, Bounds(gt=0, lt=0.5)] = 0.05
    """Share of the questions that are looked at while training runs; python-stdlib follows the split of the base model's text."""
    test_share: Annotated[float, Bounds(gt=0, lt=0.5)] = 0.05
    """Share of the questions that are kept for the evaluation alone; python-stdlib follows the split of the base model's text."""
    cleaning: CleaningConfig = EXAMPLES
    """What is mended in a chat, and which are left out, as far as it suits chats: no rule on form, markup or language."""
    expectations: InstructionExpectations = InstructionExpectations()
    """What the rows must be like; a failing expectation stops everything that would come after."""

    @property
    def dataset_name(self) -> str:
        """The dataset's name in the store: [a-z0-9-]."""
        return f"{dataset_name(self.path, self.name)}-instructions"
