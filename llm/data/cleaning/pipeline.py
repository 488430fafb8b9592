"""The steps in order: repair, markup, length and form, repetition, language, contamination, personal data.

What is cheap and turns much away comes first; what is found in a kept text alone comes last.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from infra.store.errors import InputError
from llm.data.cleaning.boilerplate import is_boilerplate
from llm.data.cleaning.characters import Counts, Kind
from llm.data.cleaning.config import CleaningConfig
from llm.data.cleaning.contamination import NgramIndex
from llm.data.cleaning.html import find_html, strip_html
from llm.data.cleaning.language import known_languages, other_language
from llm.data.cleaning.normalise import normalise
from llm.data.cleaning.pii import find_pii, replace_pii
from llm.data.cleaning.quality import Verdict, c4_lines, low_quality, symbol_noise, too_short
from llm.data.cleaning.repetition import repetitive
from llm.data.cleaning.special_tokens import find_special_tokens
from llm.data.cleaning.split import Split, Vocabulary
from llm.data.rows import Finding

MAIN = "main"
"""Stands in `languages` for the one language of the corpus."""


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
    """Cleans one text after another; the same text and settings give the same result in every process.

    main_language: what `main` in the configuration's languages stands for; empty where the corpus has no one language, and then
    none is turned away. Raises InputError for a language that cannot be told apart.
    """

    def __init__(self, config: CleaningConfig, *, contamination: NgramIndex | None = None, main_language: str = "") -> None:
        self.config, self.contamination, self.main_language = config, contamination, main_language
        self._languages = _languages(config.languages, main_language)
        self._vocabulary = Vocabulary()

    def clean(self, text: str) -> Cleaned:
        counts = Counts(text)
        if counts[Kind.SURROGATE]:
            return Cleaned(text, "lone-surrogate", "half of a character that takes two")
        if counts.is_blank:
            return Cleaned(text, "empty")
        changed, findings = self._repaired(text, counts)
        if not changed.strip():
            return Cleaned(changed, "empty", "nothing is left without markup", tuple(findings))
        if self.config.quality.c4_lines and not (changed := c4_lines(changed)):
            return Cleaned(changed, "low-quality", "c4_lines: no line is left", tuple(findings))
        same = not findings and not self.config.quality.c4_lines  # but for line ends, which the counts of characters do not touch
        split = Split(changed, self._vocabulary, counts if same else None)
        if verdict := self._verdict(split):
            return Cleaned(changed, verdict.reason, verdict.detail, tuple(findings))
        findings += self._found(text, changed)
        if self.config.pii != "ignore":
            personal = find_pii(changed)
            findings += placed(personal, changed, text)
            if self.config.pii == "replace":
                changed = replace_pii(changed, personal)
        return Cleaned(changed, findings=tuple(findings))

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuilt, (self.config, self.contamination, self.main_language)  # without the words seen so far

    def _repaired(self, text: str, counts: Counts) -> tuple[str, list[Finding]]:
        changed, findings = normalise(text, counts) if self.config.repair else (text, [])
        if self.config.html == "strip":
            stripped, markup = strip_html(changed)
            if markup and changed is not text:
                markup = find_html(text) or [Finding("html", 0, len(text))]
            changed, findings = stripped, findings + markup
        return changed, findings

    def _verdict(self, split: Split) -> Verdict | None:
        rules = self.config.quality
        if self.config.boilerplate and is_boilerplate(split.text):
            return Verdict("boilerplate", "nothing but what a page leaves behind")
        verdict = too_short(split, rules) or symbol_noise(split, rules) or low_quality(split, rules) or repetitive(split, rules)
        if verdict:
            return verdict
        if self._languages and (other := other_language(split.text, self._languages)):
            return Verdict("other-language", f"{other}, not {' or '.join(self._languages)}")
        if self.contamination and (overlap := self.contamination.overlap(split)):
            return Verdict("contamination", f"{overlap.evaluation_set}: words {overlap.start + 1} to {overlap.end}")
        return None

    def _found(self, text: str, changed: str) -> Iterator[Finding]:
        yield from placed(find_special_tokens(changed), changed, text)
        if not self.config.languages and self.main_language and other_language(changed, (self.main_language,)):
            yield Finding("other-language", 0, len(text))


def placed(findings: Iterable[Finding], changed: str, text: str) -> list[Finding]:
    """What was found in a changed text, placed in the text as it was read; in all of it where the words are not there as such."""
    if changed is text:
        return list(findings)
    found, free = list[Finding](), 0
    for finding in findings:
        words = changed[finding.start : finding.end]
        at = text.find(words, free)
        if at < 0:
            found.append(replace(finding, start=0, end=len(text)))
        else:
            free = at + len(words)
            found.append(replace(finding, start=at, end=free))
    return found


def _languages(asked: tuple[str, ...], main_language: str) -> tuple[str, ...]:
    if MAIN in asked and not main_language:
        return ()
    codes = [code for code in asked if code != MAIN]
    if codes and (unknown := sorted(set(codes) - known_languages())):
        raise InputError(
            f'"{unknown[0]}" is no language that can be told apart',
            where="cleaning.languages",
            mend="Use ISO 639 codes such as en, de, zh; main for the corpus's own language; or none at all to keep every one.",
        )
    return tuple(dict.fromkeys(main_language if code == MAIN else code for code in asked))


def _rebuilt(config: CleaningConfig, contamination: NgramIndex | None, main_language: str) -> Cleaner:
    return Cleaner(config, contamination=contamination, main_language=main_language)
