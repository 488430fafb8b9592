"""What data must be like, kind by kind, as a recipe says it. Loads without any heavy library."""

from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, ClassVar

from llm.config import Bounds

_Share = Annotated[float, Bounds(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class WaiverConfig:
    """A named person lets data pass that fails an expectation, for a reason, until a day. It is shown on the model's card."""

    __pydantic_config__: ClassVar[dict[str, object]] = {"use_attribute_docstrings": True, "extra": "forbid"}

    expectation: str
    """Which, such as max_duplicate_share."""
    who: str
    """Who answers for it."""
    reason: str
    """Why it is right."""
    expires: date
    """The last day on which it counts: YYYY-MM-DD."""

    def problems(self, where: str) -> list[str]:
        """What is missing, one phrase each."""
        return [f"{where}{name} is empty" for name in ("expectation", "who", "reason") if not getattr(self, name).strip()]


@dataclass(frozen=True, kw_only=True)
class DataExpectations:
    """What data of any kind must be like. Shares are between 0 and 1: of all rows that were read, or of the rows that stayed."""

    __pydantic_config__: ClassVar[dict[str, object]] = {"use_attribute_docstrings": True, "extra": "forbid"}

    max_rejected_share: _Share = 0.5
    """Rows that were left out, for whatever reason."""
    max_unreadable_files: Annotated[int, Bounds(ge=0)] = 0
    """Files of a folder that are damaged, cut off or binary."""
    max_undecodable_share: _Share = 0.01
    """Rows in no encoding that is known."""
    max_malformed_share: _Share = 0.05
    """Rows that are not well formed: no JSON, no object, columns missing or too many."""
    max_control_share: _Share = 0.001
    """Characters that are controls, other than tab, line feed, carriage return and form feed."""
    max_replacement_share: _Share = 0.001
    """Characters that are U+FFFD: the scars of a decoding that went wrong."""
    max_special_token_share: _Share = 0.01
    """Rows that spell a control token of a model."""
    max_pii_share: _Share = 0.2
    """Rows with personal data left in."""
    max_secret_share: _Share = 0.01
    """Rows with keys, card, account or security numbers left in."""
    max_contamination_share: _Share = 0.01
    """Rows that were left out because they hold a question of an evaluation set."""
    min_contamination_recall: _Share = 0.9
    """Of questions put into the data as a test of the search, those that are found again."""
    max_near_duplicate_share: _Share = 0.3
    """Rows that nearly repeat an earlier one. A warning."""
    max_other_language_share: _Share = 0.2
    """Rows in another language than the rest. A warning."""
    max_html_share: _Share = 0.5
    """Rows with HTML in them. A warning."""
    max_mojibake_share: _Share = 0.2
    """Rows that a wrong decoding had garbled. A warning."""
    max_mean_bytes_drift: Annotated[float, Bounds(ge=0)] = 0.5
    """Change of the mean length against the last version of the dataset. A warning."""
    max_length_drift: Annotated[float, Bounds(ge=0)] = 0.25
    """Change of the lengths against the last version: population stability index. A warning."""
    max_language_drift: _Share = 0.2
    """Change of the mix of languages against the last version: total variation. A warning."""
    max_rejected_drift: _Share = 0.1
    """Change of the share of rejected rows against the last version. A warning."""
    limits: tuple[str, ...] = ()
    """Limits of other numbers of the profile, such as max_median_bytes=4000."""
    modules: tuple[str, ...] = ()
    """Python modules with expectations of your own (docs/validation.md)."""
    waivers: tuple[WaiverConfig, ...] = ()
    """Failures that somebody answers for."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
        """A form explains inherited fields too: pydantic reads the docstrings of a class's own fields alone."""
        made = handler(schema)
        if cls is not DataExpectations:
            from pydantic import TypeAdapter  # which called this, so it is there

            shared = TypeAdapter(DataExpectations).json_schema()["properties"]
            for name, field in handler.resolve_ref_schema(made)["properties"].items():
                if name in shared and "description" in shared[name]:
                    field.setdefault("description", shared[name]["description"])
        return made

    def problems(self, where: str) -> list[str]:
        """What is wrong with the waivers, one phrase each."""
        return [problem for number, waiver in enumerate(self.waivers) for problem in waiver.problems(f"{where}waivers.{number}.")]


@dataclass(frozen=True, kw_only=True)
class Expectations(DataExpectations):
    """What a corpus must be like. `min_X` and `max_X` bound the number X of its profile; shares are between 0 and 1.

    The defaults let ordinary prose, documentation, code and chat of any script pass, and stop what teaches a model nothing.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = {"use_attribute_docstrings": True, "extra": "forbid"}

    min_documents: Annotated[int, Bounds(ge=1)] = 3
    """Documents (passages, where long ones are cut): one each to train, to validate and to test on."""
    min_bytes: Annotated[int, Bounds(ge=0)] = 5_000
    """UTF-8 bytes of text in all."""
    max_empty_share: _Share = 0.05
    """Documents without any text but white space. They are left out of the corpus."""
    min_mean_bytes: Annotated[float, Bounds(ge=0)] = 20.0
    """Mean length of a document, in UTF-8 bytes."""
    min_shortest_bytes: Annotated[int, Bounds(ge=0)] = 0
    """Length of the shortest document, in UTF-8 bytes."""
    max_longest_bytes: Annotated[int, Bounds(ge=1)] = 10_000_000
    """Length of the longest document, in UTF-8 bytes; what exceeds it is hardly one document."""
    max_duplicate_share: _Share = 0.5
    """Documents that repeat an earlier one exactly. They are left out of the corpus."""
    min_letter_share: _Share = 0.4
    """Characters that are letters, of any script."""
    min_lettered_share: _Share = 0.5
    """Documents of a random sample that are letters to the same extent each."""
    min_compressed_share: _Share = 0.05
    """Size when compressed (zlib, blocks of 64 KiB). Repetition falls below it."""
    max_compressed_share: Annotated[float, Bounds(ge=0)] = 0.7
    """Size when compressed. Prose comes to 0.35-0.55; random characters and encoded files exceed the limit."""
    max_too_short_share: _Share = 0.3
    """Documents that were left out because they are too short. A warning, as the following."""
    max_low_quality_share: _Share = 0.3
    """Documents that were left out for their form."""
    max_repetitive_share: _Share = 0.1
    """Documents that were left out because they repeat themselves."""
    max_symbol_noise_share: _Share = 0.1
    """Documents that were left out because they are symbols more than words."""
    max_boilerplate_share: _Share = 0.1
    """Documents that were left out because they are a web page's leavings."""


@dataclass(frozen=True, kw_only=True)
class LabelExpectations(DataExpectations):
    """What labelled texts must be like. `min_X` and `max_X` bound the number X of their profile; shares are between 0 and 1."""

    __pydantic_config__: ClassVar[dict[str, object]] = {"use_attribute_docstrings": True, "extra": "forbid"}

    min_rows: Annotated[int, Bounds(ge=3)] = 20
    """Rows in all."""
    min_labels: Annotated[int, Bounds(ge=2)] = 2
    """Different labels."""
    max_labels: Annotated[int, Bounds(ge=2)] = 1_000
    """Different labels; with more, the label's column is hardly one of classes."""
    min_label_rows: Annotated[int, Bounds(ge=1)] = 5
    """Rows of the rarest label that are left without repetitions."""
    max_empty_share: _Share = 0.05
    """Rows without any text but white space. Where some are allowed, they are left out."""
    max_duplicate_share: _Share = 0.5
    """Rows that repeat the text of an earlier one, but for white space and case. They are left out."""
    max_conflict_share: _Share = 0.02
    """Rows whose text has two different labels. They are left out, all of them."""
    max_largest_label_share: _Share = 0.95
    """Rows of the most frequent label. A warning."""
    max_label_drift: _Share = 0.2
    """Change of the shares of the labels against the last version: total variation. A warning."""
