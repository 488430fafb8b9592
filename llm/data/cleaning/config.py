"""What is cleaned and what is turned away. Loads without any heavy library: recipes, plans and forms stand on it."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Literal

from infra.store.fingerprint import RUNTIME
from llm.config import Bounds

_Share = Annotated[float, Bounds(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class QualityRules:
    """Limits on the text of one document; a document that breaks one is rejected. Shares are between 0 and 1.

    The rules are those of Gopher (Rae et al. 2021, table A1), C4 (Raffel et al. 2020) and FineWeb (Penedo et al. 2024). Their
    values suit pages of the web; these defaults are gentler, so that a line of a play, a docstring, a chat and code pass, and
    repeated garbage and noise do not. `GOPHER_C4_FINEWEB` holds the published values.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = {"use_attribute_docstrings": True, "extra": "forbid"}

    words: Literal["spaces"] = "spaces"
    """What a word is: what stands between spaces, and each character of a script that writes none (Chinese, Japanese, Thai)."""
    min_bytes: Annotated[int, Bounds(ge=0)] = 16
    """UTF-8 bytes of a document; shorter ones are `too-short`."""
    min_words: Annotated[int, Bounds(ge=0)] = 2
    """Words of a document, without those that hold no letter or digit (Gopher: 50). Fewer are `too-short`."""
    max_words: Annotated[int, Bounds(ge=0)] = 0
    """Words of a document (Gopher: 100,000). 0 is without a limit."""
    min_mean_word: Annotated[float, Bounds(ge=0)] = 1.5
    """Mean length of a word in characters (Gopher: 3)."""
    max_mean_word: Annotated[float, Bounds(ge=0)] = 40.0
    """Mean length of a word in characters (Gopher: 10); what exceeds it is hardly language."""
    max_symbols: _Share = 0.8
    """Characters other than letters, digits, marks and white space. More are `symbol-noise`."""
    max_symbol_ratio: Annotated[float, Bounds(ge=0)] = 1.0
    """Number signs for each word, and likewise ellipses (Gopher: 0.1). More are `symbol-noise`."""
    max_bullet_lines: _Share = 1.0
    """Lines that begin with a bullet (Gopher: 0.9). 1 is without a limit."""
    max_ellipsis_lines: _Share = 1.0
    """Lines that end in an ellipsis (Gopher: 0.3)."""
    min_lettered_words: _Share = 0.1
    """Words with a letter in them (Gopher: 0.8)."""
    min_stop_words: Annotated[int, Bounds(ge=0)] = 0
    """How many of the, be, to, of, and, that, have, with must occur (Gopher: 2). English alone has them."""

    repetition_words: Annotated[int, Bounds(ge=0)] = 30
    """Documents of fewer words are not judged by the rules of repetition: a short refrain repeats itself (published: 0)."""
    max_duplicate_lines: _Share = 0.7
    """Lines that repeat an earlier one (Gopher: 0.3)."""
    max_duplicate_line_characters: _Share = 0.7
    """Characters in such lines (Gopher: 0.2; FineWeb, at most: 0.01)."""
    max_duplicate_paragraphs: _Share = 0.7
    """Paragraphs that repeat an earlier one (Gopher: 0.3)."""
    max_duplicate_paragraph_characters: _Share = 0.7
    """Characters in such paragraphs (Gopher: 0.2)."""
    max_top_2_gram: _Share = 0.6
    """Characters in the commonest pair of words, all its places together (Gopher: 0.2)."""
    max_top_3_gram: _Share = 0.8
    """Likewise of three words (Gopher: 0.18)."""
    max_top_4_gram: _Share = 0.9
    """Likewise of four words (Gopher: 0.16)."""
    max_duplicate_5_grams: _Share = 0.6
    """Characters in runs of five words that occurred before in the document (Gopher: 0.15)."""
    max_duplicate_6_grams: _Share = 0.6
    """Likewise of six words (Gopher: 0.14)."""
    max_duplicate_7_grams: _Share = 0.6
    """Likewise of seven words (Gopher: 0.13)."""
    max_duplicate_8_grams: _Share = 0.6
    """Likewise of eight words (Gopher: 0.12)."""
    max_duplicate_9_grams: _Share = 0.6
    """Likewise of nine words (Gopher: 0.11)."""
    max_duplicate_10_grams: _Share = 0.6
    """Likewise of ten words (Gopher: 0.10)."""

    c4_lines: bool = False
    """Takes out lines that end without punctuation, have fewer than three words or speak of JavaScript or cookies (C4: true)."""
    min_sentences: Annotated[int, Bounds(ge=0)] = 0
    """Sentences of a document (C4: 5)."""
    curly_brackets: bool = True
    """Whether a document may hold a curly bracket (C4: false). Code does."""
    lorem_ipsum: bool = True
    """Whether a document may hold the filler text of that name (C4: false). One that is nothing else is boilerplate in any case."""

    min_punctuated_lines: _Share = 0.0
    """Lines that end in punctuation (FineWeb: 0.12)."""
    max_short_lines: _Share = 1.0
    """Lines of at most 30 characters (FineWeb: 0.67)."""
    max_newline_ratio: Annotated[float, Bounds(ge=0)] = 10.0
    """Line ends for each word (FineWeb: 0.3)."""


GOPHER_C4_FINEWEB: Final = QualityRules(
    min_bytes=0,
    min_words=50,
    max_words=100_000,
    min_mean_word=3,
    max_mean_word=10,
    max_symbols=1,
    max_symbol_ratio=0.1,
    max_bullet_lines=0.9,
    max_ellipsis_lines=0.3,
    min_lettered_words=0.8,
    min_stop_words=2,
    repetition_words=0,
    max_duplicate_lines=0.3,
    max_duplicate_line_characters=0.01,
    max_duplicate_paragraphs=0.3,
    max_duplicate_paragraph_characters=0.2,
    max_top_2_gram=0.2,
    max_top_3_gram=0.18,
    max_top_4_gram=0.16,
    max_duplicate_5_grams=0.15,
    max_duplicate_6_grams=0.14,
    max_duplicate_7_grams=0.13,
    max_duplicate_8_grams=0.12,
    max_duplicate_9_grams=0.11,
    max_duplicate_10_grams=0.10,
    c4_lines=True,
    min_sentences=5,
    curly_brackets=False,
    lorem_ipsum=False,
    min_punctuated_lines=0.12,
    max_short_lines=0.67,
    max_newline_ratio=0.3,
)
"""The published limits of all three together, the stricter one where two papers limit the same."""


NO_LIMITS: Final = QualityRules(
    min_bytes=0,
    min_words=0,
    min_mean_word=0,
    max_mean_word=1e9,
    max_symbols=1,
    max_symbol_ratio=1e9,
    min_lettered_words=0,
    repetition_words=1_000_000_000,
    lorem_ipsum=True,
    max_newline_ratio=1e9,
)
"""For text that nobody needs to judge: every document passes."""


@dataclass(frozen=True, kw_only=True)
class CleaningConfig:
    """How a document is cleaned, and which documents are left out."""

    __pydantic_config__: ClassVar[dict[str, object]] = {"use_attribute_docstrings": True, "extra": "forbid"}

    repair: bool = True
    """Unicode to NFC, mojibake undone, control, zero-width and bidirectional characters taken out, line ends to LF."""
    html: Literal["strip", "keep"] = "strip"
    """What is done with HTML markup. A text that speaks of HTML, and code, are left alone."""
    languages: tuple[str, ...] = ("main",)
    """ISO 639 codes of the languages to keep. `main`: the one of a clearly monolingual corpus; none at all keeps every one."""
    quality: QualityRules = QualityRules()
    """Limits on length, form and repetition."""
    boilerplate: bool = True
    """Whether documents that are nothing but a web page's leavings (`404 Not Found`, `[deleted]`) are left out."""
    pii: Literal["count", "replace", "ignore"] = "count"
    """Personal data and keys: found and reported, also replaced by placeholders such as <EMAIL>, or not looked for."""
    duplicates: Literal["near", "exact", "keep"] = "near"
    """Which repetitions are left out: near ones too, the exact ones alone, or none."""
    similarity: Annotated[float, Bounds(gt=0, le=1)] = 0.7
    """Jaccard similarity from which two documents are near duplicates: of 5 words in a row, of short ones of 4 characters."""
    evaluation_sets: Annotated[tuple[str, ...], RUNTIME] = ()
    """Sources of the questions that the model will be tested on: documents that hold one of them are left out."""
    contamination_words: Annotated[int, Bounds(ge=4)] = 13
    """Words in a row that a document may not share with an evaluation set (Brown et al. 2020: 13)."""
