"""What two texts are compared by: overlapping runs of words, or of characters where a text is short, as 64-bit hashes.

Case, punctuation and white space do not count; letters, marks, digits and symbols (`+ < = $`, emoji) do. A text of 48 words or
more has its runs of five words (Broder, 1997; Lee et al., 2022). One changed word takes five of them away, which a line of
twenty words cannot afford: a text of up to 64 words has its runs of four characters. Texts between have both, so that any two
with 3/4 of their shingles in common have one kind in common. A letter of a script without spaces is a word.

All of it is arithmetic on whole batches, about 100 MB/s: a Python object for each word would cost more than the rest of cleaning.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

WORDS: Final = 5
CHARACTERS: Final = 4
LONG_FROM: Final = 48
SHORT_TO: Final = 64  # inclusive: texts of 48 to 64 words have both kinds

Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]

_PIECE = 1 << 18  # characters that are hashed in one go: the arrays of a piece come to about 15 MB
_ALONE = np.uint32(1 << 31)  # marks a character that is a word by itself
_SPACE = 1
_CODES = 0x40000  # beyond the third plane nothing is a letter
_BASE: Final = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2**64
_SALTS: Final = {"words": np.uint64(0x5851F42D4C957F2D), "characters": np.uint64(0x14057B7EF767814F)}
_UNSPACED: Final = (  # Thai to Myanmar, Khmer, kana, ideographs
    (0x0E00, 0x1000), (0x1000, 0x10A0), (0x1780, 0x1800), (0x3040, 0x3100), (0x31F0, 0x3200), (0x3400, 0xA000), (0xF900, 0xFB00),
    (0x20000, _CODES),
)  # fmt: skip


@dataclass(frozen=True)
class Shingled:
    """For each of a batch of texts its shingles as they come: those of text i are `values[starts[i]:starts[i + 1]]`."""

    values: Hashes
    starts: Places

    def of(self, text: int) -> Hashes:
        """The set of a text's shingles, sorted."""
        return np.unique(self.values[self.starts[text] : self.starts[text + 1]])


def shingle(texts: Sequence[str]) -> tuple[Shingled, Shingled]:
    """The shingles of characters and those of words. Either is empty for a text of the other length, both without a word."""
    words, starts = _words(texts)
    counts = np.diff(starts)
    short = [text if 0 < count <= SHORT_TO else "" for text, count in zip(texts, counts.tolist(), strict=True)]
    return _character_shingles(short, words, starts), _word_shingles(words, starts, counts >= LONG_FROM)


def jaccard(one: Hashes, other: Hashes) -> float:
    """The share of two sets' elements that both have; each is sorted and without repetitions. 0 where either is empty."""
    if not len(one) or not len(other):
        return 0.0
    both = np.concatenate((one, other))
    both.sort(kind="stable")  # two sorted halves are merged
    common = int(np.count_nonzero(both[1:] == both[:-1]))
    return common / (len(both) - common)


def _word_shingles(words: Hashes, starts: Places, wanted: NDArray[np.bool_]) -> Shingled:
    runs = _runs(words, WORDS, _SALTS["words"])
    text = np.repeat(np.arange(len(wanted)), np.diff(starts))[: len(runs)]
    inside = np.arange(len(runs)) + WORDS <= starts[1:][text]
    chosen = inside & wanted[text]
    return _by_text(text[chosen], runs[chosen], len(wanted))


def _character_shingles(texts: Sequence[str], words: Hashes, starts: Places) -> Shingled:
    """Of texts that are short or empty: their characters fit into memory where their words do."""
    found: list[tuple[Places, Hashes]] = []
    for first, batch in _batches(texts):
        folded, text = _folded(batch)
        inside = folded != 0
        keep = inside.copy()
        keep[1:] |= inside[:-1]  # of a gap between words the first character stands for it
        letters = np.where(inside, folded & ~_ALONE, _SPACE)[keep].astype(np.uint64)
        text = text[keep]
        runs = _runs(letters, CHARACTERS, _SALTS["characters"])
        whole = text[: len(runs)] == text[CHARACTERS - 1 :]
        found.append((text[: len(runs)][whole] + first, runs[whole]))
    owner = np.concatenate([np.zeros(0, np.int64), *(pair[0] for pair in found)])
    values = np.concatenate([np.zeros(0, np.uint64), *(pair[1] for pair in found)])
    bare = np.fromiter(map(bool, texts), bool, len(texts))
    bare[owner] = False
    tiny = np.flatnonzero(bare)  # "I": its word is its one shingle
    if len(tiny):
        owner, values = np.concatenate((owner, tiny)), np.concatenate((values, words[starts[tiny]]))
        order = np.argsort(owner, kind="stable")
        owner, values = owner[order], values[order]
    return _by_text(owner, values, len(texts))


def _by_text(owner: Places, values: Hashes, n: int) -> Shingled:
    return Shingled(values, np.searchsorted(owner, np.arange(n + 1)))


def _words(texts: Sequence[str]) -> tuple[Hashes, Places]:
    """The hash of every word of every text in their order, and where each text's words start."""
    hashes, counts = [], np.zeros(len(texts), np.int64)
    powers, inverse = _powers()
    for first, batch in _batches(texts):
        folded, text = _folded(batch)
        inside, alone = folded != 0, (folded & _ALONE) != 0
        joined = np.zeros(len(folded) + 1, bool)  # does character i belong to the word of i - 1?
        joined[1:-1] = inside[1:] & inside[:-1] & ~alone[1:] & ~alone[:-1]
        begins, ends = np.flatnonzero(inside & ~joined[:-1]), np.flatnonzero(inside & ~joined[1:]) + 1
        sums = np.zeros(len(folded) + 1, np.uint64)
        np.cumsum((folded & ~_ALONE).astype(np.uint64) * powers[: len(folded)], out=sums[1:])
        hashes.append(mixed((sums[ends] - sums[begins]) * inverse[begins]))
        np.add.at(counts, first + text[begins], 1)
    starts = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(counts, out=starts[1:])
    return np.concatenate(hashes) if hashes else np.zeros(0, np.uint64), starts


def _batches(texts: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """(place of the first, texts) in portions of one piece; a longer text comes as several batches, cut at white space."""
    held: list[str] = []
    first = size = 0
    for place, text in enumerate(texts):
        if size + len(text) >= _PIECE and held:
            yield first, held
            held, size = [], 0
        if not held:
            first = place
        start = 0
        while len(text) - start >= _PIECE:
            end = start + _PIECE - 1
            cut = max(text.rfind(space, end - 4096, end) for space in (" ", "\n")) + 1 or end
            yield place, [text[start:cut]]
            start = cut
        held.append(text[start:] if start else text)
        size += len(held[-1]) + 1
    if held:
        yield first, held


def _folded(batch: Sequence[str]) -> tuple[NDArray[np.uint32], Places]:
    """Of every character of the texts, each followed by a gap: what it counts as (0: nothing), and which text it belongs to."""
    joined = "\n".join(batch) + "\n"
    table = _table()
    if joined.isascii():
        folded = table[np.frombuffer(joined.encode(), np.uint8)]
    else:
        codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
        folded = table[np.minimum(codes, _CODES)]
    return folded, np.repeat(np.arange(len(batch)), [len(text) + 1 for text in batch])


@cache
def _table() -> NDArray[np.uint32]:
    """For each code point the one it counts as, in lower case; 0 for none. 0.2 s to make, 1 MB."""
    table = np.zeros(_CODES + 1, np.uint32)
    for code in range(_CODES):
        category = unicodedata.category(character := chr(code))
        if category[0] in "LMN" or category in {"Sm", "Sc", "So"}:
            lower = character.lower()
            table[code] = ord(lower[0])  # İ becomes i and a dot
            if category[0] == "S":
                table[code] |= _ALONE
    for start, end in _UNSPACED:
        table[start:end] |= np.where(table[start:end] != 0, _ALONE, np.uint32(0))
    return table


@cache
def _powers() -> tuple[Hashes, Hashes]:
    """_BASE to the powers from 0 on, and of its inverse: the hash of a word is a difference of sums over all that came before."""
    powers = np.empty((2, _PIECE + 1), np.uint64)
    powers[:, 0] = 1
    powers[0, 1:], powers[1, 1:] = _BASE, pow(_BASE, -1, 1 << 64)
    np.cumprod(powers, axis=1, out=powers)
    return powers[0], powers[1]


def _runs(items: Hashes, length: int, salt: np.uint64) -> Hashes:
    """The hash of each run of `length` neighbours."""
    n = max(0, len(items) - length + 1)
    total = np.full(n, salt)
    for place in range(length):
        total *= np.uint64(_BASE)
        total += items[place : place + n]
    return mixed(total)


def mixed(values: Hashes) -> Hashes:
    """Spreads each value over all 64 bits (the finaliser of MurmurHash3)."""
    values = values ^ (values >> np.uint64(33))
    values *= np.uint64(0xFF51AFD7ED558CCD)
    values ^= values >> np.uint64(33)
    values *= np.uint64(0xC4CEB9FE1A85EC53)
    values ^= values >> np.uint64(33)
    return values
