"""What people are shown of a text: on one line, nothing in it that moves a cursor, and no personal data in clear."""

import re
from typing import Final

_EMAIL: Final = re.compile(r"[^\s@<>\"'(),:;]{1,64}@[^\s@<>\"'(),:;]{1,190}\.\w{2,}")
_STREET: Final = re.compile(
    r"\b\d{1,5}[A-Za-z]?,? (?:[A-Z][\w.'-]*,? ){1,4}?"
    r"(?:Street|St|Avenue|Ave|Road|Rd|Lane|Ln|Drive|Dr|Boulevard|Blvd|Court|Ct|Place|Pl|Way|Square|Sq|Terrace|Circle)\b\.?"
)
_IPV6: Final = re.compile(r"(?<![\w:])(?:[0-9A-Fa-f]{0,4}:){3,7}[0-9A-Fa-f]{1,4}(?![\w:])")
_IBAN: Final = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_KEY: Final = re.compile(r"(?<![\w/+\-])(?=[\w\-+/=]*\d)(?=[\w\-+/=]*[A-Za-z])[\w\-+/=]{20,}")
_IPV4: Final = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])")
_DIGITS: Final = re.compile(r"\+?\(?\d(?:[\s().\-/]{0,2}\d){6,}")
_PATTERNS: Final = (_EMAIL, _STREET, _IPV6, _IBAN, _KEY, _IPV4, _DIGITS)
_CUT_OFF: Final = re.compile(r"\S*@\S*$|(?=\S*\d)\S{9,}$|\+?\d(?:[\s().\-/]{0,2}\d){3,}[\s().\-/]*$")
DOT: Final = "•"


def mask(text: str, *, cut_off: bool = False) -> str:
    """Each address, number or key that may be somebody's, down to its first character. What is masked keeps its length.

    cut_off: whether the text ends where somebody cut it: half of such a thing is then masked too. Errs on the side of masking:
    a report is read by many, and kept.
    """
    for pattern in (*_PATTERNS, _CUT_OFF) if cut_off else _PATTERNS:
        text = pattern.sub(lambda found: _dotted(found[0]), text)
    return text


def excerpt(text: str, length: int = 160) -> str:
    """The beginning of a text, masked, on one line; control characters as their escapes."""
    begun = mask(text[: 2 * length])[:length]  # masked before it is cut: half of an address is not known for one
    return repr(begun)[1:-1] + "…" * (len(text) > length)


def _dotted(found: str) -> str:
    return found[0] + "".join(letter if letter in " -.@:()/" else DOT for letter in found[1:])
