"""The suites: to which a number of a profile belongs, what it is in words, and the limits where a recipe says none."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["corpus", "instruction", "preference", "classification"]
Suite = Literal["invariants", "contamination", "quality", "drift"]
Severity = Literal["block", "warn"]
KINDS: Final[tuple[Kind, ...]] = ("corpus", "instruction", "preference", "classification")
SEVERITY: Final[Mapping[Suite, Severity]] = {"invariants": "block", "contamination": "block", "quality": "warn", "drift": "warn"}
"""What a failure does: `block` refuses the data, `warn` is shown and goes on."""

NO_SETS: Final = "no evaluation sets are named"
NO_EARLIER: Final = "there is no earlier version to compare with"
_IGNORED: Final = "personal data is not looked for"


@dataclass(frozen=True)
class Measure:
    """A number of the profile. `optional` says why it may be missing; without a reason, a missing number is an error."""

    suite: Suite
    words: str
    optional: str = ""

    @property
    def severity(self) -> Severity:
        return SEVERITY[self.suite]


def _all(suite: Suite, words: Mapping[str, str], optional: str = "") -> dict[str, Measure]:
    return {name: Measure(suite, said, optional) for name, said in words.items()}


MEASURES: Final[Mapping[str, Measure]] = {
    **_all(
        "invariants",
        {
            "rows": "rows",
            "documents": "documents",
            "bytes": "bytes of text",
            "unreadable_files": "files that cannot be read",
            "rejected_share": "share of rejected rows",
            "undecodable_share": "share of rows in no encoding that is known",
            "malformed_share": "share of rows that are not well formed",
            "invalid_share": "share of rows in which something is wrong",
            "empty_share": "share of empty documents",
            "duplicate_share": "share of exact duplicates",
            "control_share": "share of control characters",
            "replacement_share": "share of U+FFFD characters",
            "special_token_share": "share of documents that spell a control token",
            "letter_share": "share of letters",
            "lettered_share": "share of sampled documents with letters enough",
            "compressed_share": "size when compressed, to the text's",
            "shortest_bytes": "bytes of the shortest document",
            "longest_bytes": "bytes of the longest document",
            "labels": "different labels",
            "label_rows": "rows of the rarest label",
            "conflict_share": "share of rows whose text has two labels",
            "empty_answer_share": "share of rows without an answer",
            "longest_answer_bytes": "bytes of the longest answer",
            "same_answers_share": "share of rows whose chosen answer is the rejected one",
        },
    ),
    **_all(
        "invariants",
        {
            "pii_share": "share of documents with personal data left in",
            "secret_share": "share of documents with keys, card, account or security numbers left in",
        },
        _IGNORED,
    ),
    **_all(
        "contamination",
        {
            "contamination_share": "share of rows that hold evaluation questions",
            "contamination_recall": "injected evaluation questions that were found again",
        },
        NO_SETS,
    ),
    **_all(
        "quality",
        {
            "mean_bytes": "bytes of a document, mean",
            "median_bytes": "bytes of a document, median",
            "mean_answer_bytes": "bytes of an answer, mean",
            "near_duplicate_share": "share of near duplicates",
            "low_quality_share": "share of rows of low quality",
            "repetitive_share": "share of rows that repeat themselves",
            "symbol_noise_share": "share of rows that are noise",
            "boilerplate_share": "share of rows that are boilerplate",
            "too_short_share": "share of rows that are too short",
            "other_language_share": "share of rows in another language",
            "main_language_share": "share of sampled documents in the main language",
            "html_share": "share of documents with HTML in them",
            "mojibake_share": "share of documents that a wrong decoding had garbled",
            "zero_width_share": "share of documents with invisible characters",
            "bidi_override_share": "share of documents that turn the writing direction",
            "largest_label_share": "share of the most frequent label",
            "length_ratio": "bytes of chosen answers to those of rejected ones",
        },
    ),
    **_all(
        "drift",
        {
            "mean_bytes_drift": "change of the mean length against the last version",
            "length_drift": "change of the lengths (PSI)",
            "language_drift": "change of the language mix (total variation)",
            "label_drift": "change of the label shares (total variation)",
            "rejected_drift": "change of the share of rejected rows",
        },
        NO_EARLIER,
    ),
}
"""Every number that has words of its own. Any other number of the profile may be bounded as well: it counts as an invariant."""

_SOURCES: Final = {"max_unreadable_files": 0, "max_rejected_share": 0.5, "max_undecodable_share": 0.01, "max_malformed_share": 0.05}
_TEXT: Final = {
    "max_pii_share": 0.2,
    "max_secret_share": 0.01,
    "max_special_token_share": 0.01,
    "max_control_share": 0.001,
    "max_replacement_share": 0.001,
    "max_contamination_share": 0.01,
    "min_contamination_recall": 0.9,
    "max_html_share": 0.5,
    "max_mojibake_share": 0.2,
    "max_near_duplicate_share": 0.3,
    "max_other_language_share": 0.2,
}
_DRIFT: Final = {"max_mean_bytes_drift": 0.5, "max_length_drift": 0.25, "max_language_drift": 0.2, "max_rejected_drift": 0.1}
DEFAULTS: Final[Mapping[Kind, Mapping[str, float]]] = {
    "corpus": {
        "min_documents": 3,
        "min_bytes": 5_000,
        **_SOURCES,
        "max_empty_share": 0.05,
        "max_duplicate_share": 0.5,
        "min_letter_share": 0.4,
        "min_lettered_share": 0.5,
        "min_compressed_share": 0.05,
        "max_compressed_share": 0.7,
        "max_longest_bytes": 10_000_000,
        "min_mean_bytes": 20,
        "max_low_quality_share": 0.3,
        "max_repetitive_share": 0.1,
        "max_symbol_noise_share": 0.1,
        "max_boilerplate_share": 0.1,
        "max_too_short_share": 0.3,
        **_TEXT,
        **_DRIFT,
    },
    "instruction": {
        "min_rows": 30,
        **_SOURCES,
        "max_rejected_share": 0.2,
        "max_invalid_share": 0.1,
        "max_empty_answer_share": 0.05,
        "max_duplicate_share": 0.2,
        "min_mean_answer_bytes": 2,
        "max_longest_answer_bytes": 100_000,
        **_TEXT,
        **_DRIFT,
    },
    "preference": {
        "min_rows": 30,
        **_SOURCES,
        "max_rejected_share": 0.2,
        "max_invalid_share": 0.1,
        "max_empty_answer_share": 0.05,
        "max_same_answers_share": 0.05,
        "max_duplicate_share": 0.2,
        "min_length_ratio": 0.5,
        "max_length_ratio": 2.0,
        "max_longest_answer_bytes": 100_000,
        **_TEXT,
        **_DRIFT,
    },
    "classification": {
        "min_rows": 20,
        "min_labels": 2,
        "max_labels": 1_000,
        "min_label_rows": 5,
        **_SOURCES,
        "max_rejected_share": 0.5,
        "max_empty_share": 0.05,
        "max_duplicate_share": 0.5,
        "max_conflict_share": 0.02,
        "max_largest_label_share": 0.95,
        **_TEXT,
        **_DRIFT,
        "max_label_drift": 0.2,
    },
}
"""What is expected of each kind where a recipe does not say otherwise: ordinary data passes, what teaches nothing does not."""


def measure(name: str) -> Measure:
    """What the number `name` is. One that nobody has described blocks: whoever bounds it by hand means it."""
    return MEASURES.get(name) or Measure("invariants", name.replace("_", " "))


def bound_of(name: str) -> tuple[Literal["min", "max", ""], str]:
    """`max_empty_share` -> ("max", "empty_share"); ("", name) where it bounds nothing."""
    side, _, number = name.partition("_")
    if side == "min" and number:
        return "min", number
    return ("max", number) if side == "max" and number else ("", name)


def said(limit: float) -> str:
    """A limit in digits."""
    return f"{limit:,.0f}" if float(limit).is_integer() else f"{limit:,g}"
