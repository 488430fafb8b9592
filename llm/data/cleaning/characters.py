"""What kind each character of a text is, counted in one pass: several steps ask, and most texts have nothing to ask about."""

import unicodedata
from enum import IntEnum
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray


class Kind(IntEnum):
    """A character's kind. Marks count as letters: they are parts of them."""

    LETTER = 0
    DIGIT = 1
    SPACE = 2
    SYMBOL = 3
    RETURN = 4  # carriage return and the other line ends that become a line feed
    CONTROL = 5
    ZERO_WIDTH = 6
    JOINER = 7  # invisible too, but part of the spelling of many scripts and of emoji
    BIDI = 8
    SURROGATE = 9


ZERO_WIDTH: Final = "\u00ad\u180e\u200b\u200e\u200f\u061c\u2060-\u2064\ufeff\U000e0001\U000e0020-\U000e007f"
"""Characters that show nothing, as the inside of a regular expression's class."""
JOINERS: Final = "\u200c\u200d"
BIDI: Final = "\u202a-\u202e\u2066-\u2069"
"""Embeddings, overrides and isolates: they show a text in another order than it is written."""
CONTROLS: Final = "\x00-\x08\x0b\x0e-\x1f\x7f-\x9f"
"""Controls other than tab, line feed, form feed and carriage return."""
LINE_ENDS: Final = "\r\u2028\u2029"

_TABLE_SIZE: Final = 0xE0081  # what lies above its last place is a symbol as well
_LAST_ASKED: Final = 0x20000  # above it are ideographs, then nothing that is assigned but tags and private use


class Counts:
    """How many characters of each kind a text has."""

    __slots__ = ("_counts", "length")

    def __init__(self, text: str) -> None:
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        kinds = _kinds().take(codes, mode="clip")
        self._counts: list[int] = np.bincount(kinds, minlength=len(Kind)).tolist()
        self.length = len(codes)

    def __getitem__(self, kind: Kind) -> int:
        return self._counts[kind]

    @property
    def to_repair(self) -> bool:
        """Whether there is any character that repair takes out or exchanges."""
        return any(self._counts[Kind.RETURN : Kind.SURROGATE])

    @property
    def only_line_ends(self) -> bool:
        """Whether these are no others than the line ends of other systems."""
        return self._counts[Kind.RETURN] > 0 and not any(self._counts[Kind.CONTROL : Kind.SURROGATE])

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing to be seen."""
        return not any(self._counts[kind] for kind in (Kind.LETTER, Kind.DIGIT, Kind.SYMBOL, Kind.SURROGATE))

    @property
    def symbol_share(self) -> float:
        """Symbols and controls among the characters that are not white space; 0 where there are none."""
        shown = self.length - self._counts[Kind.SPACE] - self._counts[Kind.RETURN] - self._counts[Kind.ZERO_WIDTH]
        return (self._counts[Kind.SYMBOL] + self._counts[Kind.CONTROL]) / shown if shown else 0.0


@cache
def _kinds() -> NDArray[np.uint8]:
    """The kind of each code point: (_TABLE_SIZE,); takes 20 ms to make."""
    kinds = np.full(_TABLE_SIZE, Kind.SYMBOL, dtype=np.uint8)
    kinds[_LAST_ASKED:0x40000] = Kind.LETTER
    for code in range(_LAST_ASKED):
        character, category = chr(code), unicodedata.category(chr(code))
        if category[0] in "LM":
            kinds[code] = Kind.LETTER
        elif category[0] == "N":
            kinds[code] = Kind.DIGIT
        elif character.isspace():
            kinds[code] = Kind.SPACE
    for characters, kind in (
        (CONTROLS, Kind.CONTROL),
        (ZERO_WIDTH, Kind.ZERO_WIDTH),
        (JOINERS, Kind.JOINER),
        (BIDI, Kind.BIDI),
        (LINE_ENDS, Kind.RETURN),
        ("\ud800-\udfff", Kind.SURROGATE),
    ):
        for first, last in _ranges(characters):
            kinds[first : last + 1] = kind
    return kinds


def _ranges(characters: str) -> list[tuple[int, int]]:
    """The ranges of a class of characters such as `a-fx`."""
    found, place = list[tuple[int, int]](), 0
    while place < len(characters):
        if characters[place + 1 : place + 2] == "-":
            found.append((ord(characters[place]), ord(characters[place + 2])))
            place += 3
        else:
            found.append((ord(characters[place]), ord(characters[place])))
            place += 1
    return found
