"""Unicode as it should be: NFC, no mojibake, no characters that show nothing or steer a terminal, line ends as line feeds."""

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

import ftfy

from llm.data.cleaning.characters import BIDI, CONTROLS, JOINERS, ZERO_WIDTH, Counts
from llm.data.cleaning.spans import Spans
from llm.data.rows import Finding

_TAKEN_OUT: Final = re.compile(
    rf"""(?P<control> (?:\x1b(?:\[[0-?]*[ -/]*[@-~]  # a terminal's escape sequences, whole: ECMA-48
            | [\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)?
            | [ -/]*[0-~])?
            | [^\n\x08]\x08  # struck over, as in man pages
            | [{CONTROLS}])+ )
    | (?P<zero> [{ZERO_WIDTH}]+ )
    | (?P<joiner> [{JOINERS}]+ )
    | (?P<bidi> [{BIDI}]+ )
    | (?P<line> \r\n? | [\u2028\u2029] )""",
    re.VERBOSE,
)
_KINDS: Final = {"control": "control-char", "zero": "zero-width", "joiner": "zero-width", "bidi": "bidi-override"}
_FIRST_JOINED: Final = "\u0600"  # Arabic and the scripts of India spell with joiners, and emoji are put together with them
_VERTICAL_TAB: Final = "\x0b"
_C1: Final = {chr(code): bytes([code]).decode("cp1252", "ignore") for code in range(0x80, 0xA0)}
"""What Windows has in the place of these controls: quotation marks, dashes, an ellipsis. Nobody writes the controls themselves."""

# Mojibake stands in runs of two and more characters beyond ASCII, or is à, whose second half became a space. Typographic quotes and
# dashes side by side are no such run. Asking ftfy costs 200 ns a character.
_SUSPECT: Final = re.compile(
    "[^\x00-\x7f\u2010-\u2027\u2030-\u205e][^\x00-\x7f]|[^\x00-\x7f][^\x00-\x7f\u2010-\u2027\u2030-\u205e]|Ã "
)
_LATIN_LEAD: Final = re.compile("[\u00c2-\u00f4\u0102-\u0111\u0139-\u0171\u0393\u201a\u221a\u252c\u0412-\u0444]")


def normalise(text: str, counts: Counts) -> tuple[str, list[Finding]]:
    """The text repaired, and what was wrong with it, with offsets in `text` as it is given. `counts` are those of `text`."""
    if text.isascii() and not counts.to_repair:
        return text, []
    findings: list[Finding] = []
    if counts.to_repair and not counts.only_line_ends:
        findings += [Finding(kind, found.start(), found.end()) for kind, found in _taken_out(text)]
    if broken := list(_mojibake(text)):
        mended = Spans((each.start, each.end) for each in broken)
        findings = [finding for finding in findings if finding.start not in mended]
        findings = sorted(findings + broken, key=lambda finding: finding.start)
        text = "\n".join(map(_mended, text.split("\n")))
    if counts.only_line_ends:
        text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n")
    elif counts.to_repair:
        text = _TAKEN_OUT.sub(_instead, text)
    if not unicodedata.is_normalized("NFC", text):
        text = unicodedata.normalize("NFC", text)
    return text, findings


def _taken_out(text: str) -> Iterator[tuple[str, re.Match[str]]]:
    for found in _TAKEN_OUT.finditer(text):
        kind = _KINDS.get(str(found.lastgroup))
        if kind and not (found.lastgroup == "joiner" and _joins(text, found.start())):
            yield kind, found


def _instead(found: re.Match[str]) -> str:
    if found.lastgroup == "line":
        return "\n"
    if found.lastgroup == "control":
        return "\n" if found[0] == _VERTICAL_TAB else "".join(_C1.get(character, "") for character in found[0])
    return found[0] if found.lastgroup == "joiner" and _joins(found.string, found.start()) else ""


def _joins(text: str, place: int) -> bool:
    return place > 0 and text[place - 1] >= _FIRST_JOINED


def _mojibake(text: str) -> Iterator[Finding]:
    """The part of each line that ftfy reads otherwise."""
    if text.isascii() or not _SUSPECT.search(text):
        return
    start = 0
    for line in text.split("\n"):
        mended = _mended(line)
        if mended != line:
            yield Finding("mojibake", start + _shared(line, mended), start + len(line) - _shared(line[::-1], mended[::-1]))
        start += len(line) + 1


def _mended(line: str) -> str:
    if line.isascii() or not _SUSPECT.search(line) or not _LATIN_LEAD.search(line):
        return line
    return str(ftfy.fix_encoding(line))


def _shared(one: str, other: str) -> int:
    """How many characters both begin with."""
    return next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
