"""Rules on length and form: Gopher (Rae et al. 2021), C4 (Raffel et al. 2020) and FineWeb (Penedo et al. 2024)."""

import re
from dataclasses import dataclass
from typing import Final

from llm.data.cleaning.config import QualityRules
from llm.data.cleaning.split import Split


@dataclass(frozen=True)
class Verdict:
    """Why a document is turned away: one of the fixed reasons, and the rule with what was found and what is allowed."""

    reason: str
    detail: str


_BULLETS: Final = ("•", "‣", "▶", "◀", "◦", "■", "□", "▪", "▫", "–", "-", "*")
_ELLIPSES: Final = ("...", "…")
_ENDS: Final = frozenset(".!?…。！？．｡:;,\"'”’»)]}>:：；、")
_SENTENCE_END: Final = re.compile(r"[.!?。！？]+[\"'”’)\]]*(?=\s|$)")
_CITATION: Final = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
_POLICY: Final = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
_C4_ENDS: Final = (".", "!", "?", '"', "'")
_C4_WORDS, _C4_WORD_LENGTH = 3, 1000
_SHORT_LINE = 30  # characters (Penedo et al. 2024)
_LOREM: Final = "lorem ipsum"


def too_short(split: Split, rules: QualityRules) -> Verdict | None:
    """Fewer bytes than asked for."""
    size = len(split.text) if split.text.isascii() else len(split.text.encode("utf-8", "surrogatepass"))
    return Verdict("too-short", f"{size} bytes, at least {rules.min_bytes}") if size < rules.min_bytes else None


def symbol_noise(split: Split, rules: QualityRules) -> Verdict | None:
    """More symbols than language has: of all characters, or number signs and ellipses for each word."""
    if (share := split.counts.symbol_share) > rules.max_symbols:
        return _above("symbol-noise", "symbols among the characters", share, rules.max_symbols)
    words = max(len(split.words), 1)
    for name, count in (("number signs", split.text.count("#")), ("ellipses", _ellipses(split.text))):
        if count > rules.max_symbol_ratio * words:
            return _above("symbol-noise", f"{name} for each word", count / words, rules.max_symbol_ratio)
    return None


def low_quality(split: Split, rules: QualityRules) -> Verdict | None:
    """The first rule on words and lines that the document breaks."""
    return _words(split, rules) or _lines(split, rules)


def _words(split: Split, rules: QualityRules) -> Verdict | None:
    words = max(len(split.words), 1)
    if len(split.keys) < rules.min_words:
        return Verdict("too-short", f"{len(split.keys)} words, at least {rules.min_words}")
    if rules.max_words and len(split.keys) > rules.max_words:
        return Verdict("low-quality", f"max_words: {len(split.keys):,}, at most {rules.max_words:,}")
    mean = split.bare_characters / max(len(split.keys), 1)
    if mean < rules.min_mean_word and split.spaced:
        return _below("min_mean_word", mean, rules.min_mean_word)
    if mean > rules.max_mean_word:
        return _above("low-quality", "max_mean_word", mean, rules.max_mean_word)
    if split.lettered_words < rules.min_lettered_words * words:
        return _below("min_lettered_words", split.lettered_words / words, rules.min_lettered_words)
    if split.stop_words < rules.min_stop_words:
        return _below("min_stop_words", split.stop_words, rules.min_stop_words)
    if not rules.curly_brackets and ("{" in split.text or "}" in split.text):
        return Verdict("low-quality", "curly_brackets: it has one")
    if not rules.lorem_ipsum and _LOREM in split.text.lower():
        return Verdict("low-quality", "lorem_ipsum: it has this filler")
    return None


def _lines(split: Split, rules: QualityRules) -> Verdict | None:
    lines, words = split.lines, max(len(split.words), 1)
    count = max(len(lines), 1)
    limits: list[tuple[str, float, float]] = []
    if rules.max_bullet_lines < 1:
        limits.append(("max_bullet_lines", sum(line.startswith(_BULLETS) for line in lines) / count, rules.max_bullet_lines))
    if rules.max_ellipsis_lines < 1:
        limits.append(("max_ellipsis_lines", sum(line.endswith(_ELLIPSES) for line in lines) / count, rules.max_ellipsis_lines))
    if rules.max_short_lines < 1:
        limits.append(("max_short_lines", sum(len(line) <= _SHORT_LINE for line in lines) / count, rules.max_short_lines))
    limits.append(("max_newline_ratio", split.text.count("\n") / words, rules.max_newline_ratio))
    for name, found, most in limits:
        if found > most:
            return _above("low-quality", name, found, most)
    if rules.min_punctuated_lines > 0:
        ended = sum(line[-1] in _ENDS for line in lines) / count
        if ended < rules.min_punctuated_lines:
            return _below("min_punctuated_lines", ended, rules.min_punctuated_lines)
    if rules.min_sentences and (sentences := len(_SENTENCE_END.findall(split.text))) < rules.min_sentences:
        return _below("min_sentences", sentences, rules.min_sentences)
    return None


def c4_lines(text: str) -> str:
    """The text without the lines that C4 takes out: unended, short, with a word beyond measure, or a page's own words."""
    lowered = text.lower()
    script, policy = "javascript" in lowered, any(phrase in lowered for phrase in _POLICY)
    kept = []
    for line in text.split("\n"):
        line = line.strip()
        if not line:
            continue
        if "[" in line:
            line = _CITATION.sub("", line)
        if not line.endswith(_C4_ENDS) or line.endswith("..."):
            continue
        if len(line) > _C4_WORD_LENGTH and any(len(word) > _C4_WORD_LENGTH for word in line.split()):
            continue
        if len(line.split(None, _C4_WORDS - 1)) < _C4_WORDS:
            continue
        if script and "javascript" in line.lower():
            continue
        if policy and any(phrase in line.lower() for phrase in _POLICY):
            continue
        kept.append(line)
    return "\n".join(kept)


def _ellipses(text: str) -> int:
    return text.count("...") + text.count("…")


def _above(reason: str, rule: str, found: float, most: float) -> Verdict:
    return Verdict(reason, f"{rule}: {found:.3g}, at most {most:.3g}")


def _below(rule: str, found: float, least: float) -> Verdict:
    return Verdict("low-quality", f"{rule}: {found:.3g}, at least {least:.3g}")
