"""Which preferences a model learns from, and what is expected of them. Loads without any heavy library."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from infra.store.fingerprint import RUNTIME
from llm.config import Bounds
from llm.data.cleaning.config import CleaningConfig
from llm.data.config import dataset_name
from llm.data.expectations import DataExpectations


@dataclass(frozen=True, kw_only=True)
class PreferenceExpectations(DataExpectations):
    """What preferences must be like. `min_X` and `max_X` bound the number X of their profile; shares are between 0 and 1."""

    __pydantic_config__: ClassVar[dict[str, object]] = {"use_attribute_docstrings": True, "extra": "forbid"}

    max_rejected_share: Annotated[float, Bounds(ge=0, le=1)] = 0.2
    """Rows that were left out, for whatever reason."""
    min_rows: Annotated[int, Bounds(ge=3)] = 30
    """Pairs that are left to learn from and to test on."""
    max_invalid_share: Annotated[float, Bounds(ge=0, le=1)] = 0.1
    """Rows that were left out because something in them is wrong."""
    max_empty_answer_share: Annotated[float, Bounds(ge=0, le=1)] = 0.05
    """Rows that were left out because one of their answers is empty."""
    max_same_answers_share: Annotated[float, Bounds(ge=0, le=1)] = 0.05
    """Rows that were left out because both of their answers say the same."""
    max_duplicate_share: Annotated[float, Bounds(ge=0, le=1)] = 0.2
    """Rows that were left out because an earlier one has the same prompt and answers."""
    max_conflict_share: Annotated[float, Bounds(ge=0, le=1)] = 0.05
    """Rows that were left out because another one chooses the other answer."""
    min_length_ratio: Annotated[float, Bounds(ge=0)] = 0.5
    """Bytes of the chosen answers to those of the rejected ones: far from 1, length alone would be learnt."""
    max_length_ratio: Annotated[float, Bounds(gt=0)] = 2.0
    """Bytes of the chosen answers to those of the rejected ones."""
    max_longest_answer_bytes: Annotated[int, Bounds(ge=1)] = 100_000
    """Length of the longest answer, in UTF-8 bytes."""


@dataclass(frozen=True, kw_only=True)
class PreferenceData:
    """Where the pairs of answers are, and what is expected of them."""

    __pydantic_config__: ClassVar[dict[str, object]] = {"use_attribute_docstrings": True, "extra": "forbid"}

    path: Annotated[str, RUNTIME] = ""
    """Rows with a chosen and a rejected answer, in the grammar of `data.path`: texts, chats or transcripts, with a prompt or
    without. Empty: nothing is learnt from preferences."""
    prompt_column: str = ""
    """The column of the prompt. Left empty, it is found, and said; some rows have it in their answers, and some have none."""
    chosen_column: str = ""
    """The column of the answer that was chosen. Left empty, it is found, and said."""
    rejected_column: str = ""
    """The column of the answer that was not chosen. Left empty, it is found, and said."""
    on_invalid: Literal["refuse", "drop"] = "refuse"
    """What to do with a row in which something is wrong: refuse them all, naming the first, or leave the wrong ones out."""
    name: Annotated[str, RUNTIME] = ""
    """The dataset's name: a-z, 0-9 and hyphens. Left empty, it is made from the path."""
    validation_share: Annotated[float, Bounds(gt=0, lt=0.5)] = 0.05
    """Share of the prompts that are looked at while training runs."""
    test_share: Annotated[float, Bounds(gt=0, lt=0.5)] = 0.05
    """Share of the prompts that are kept for the evaluation alone."""
    cleaning: CleaningConfig = CleaningConfig(duplicates="exact")
    """What is mended in a text, and which rows are left out. Rules on length, form and language do not hold for answers."""
    expectations: PreferenceExpectations = PreferenceExpectations()
    """What the rows must be like; a failing expectation stops everything that would come after."""

    @property
    def dataset_name(self) -> str:
        """The dataset's name in the store: [a-z0-9-]."""
        return f"{dataset_name(self.path, self.name)}-preferences"
