"""The steps in order: repair, markup, length and form, language, contamination, personal data."""

from dataclasses import dataclass

from llm.data.cleaning.config import CleaningConfig
from llm.data.rows import Finding


@dataclass(frozen=True)
class Cleaned:
    """A document after cleaning. `reason` is empty where it is kept, else one of the fixed words, with its rule in `detail`.

    The findings' offsets are characters of the text as it was read.
    """

    text: str
    reason: str = ""
    detail: str = ""
    findings: tuple[Finding, ...] = ()


class Cleaner:
    """Cleans one text after another; the same text and settings give the same result in every process."""

    def __init__(self, config: CleaningConfig, *, main_language: str = "") -> None:
        self.config, self.main_language = config, main_language

    def clean(self, text: str) -> Cleaned:
        if not text.strip():
            return Cleaned(text, "empty")
        return Cleaned(text)
