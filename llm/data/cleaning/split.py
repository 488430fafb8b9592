"""The one split of a document that all rules share, and what is known of each word."""

import re
from functools import cached_property
from hashlib import blake2b
from typing import Final

import numpy as np
from numpy.typing import NDArray

from llm.data.cleaning.characters import Counts

STOP_WORDS: Final = ("the", "be", "to", "of", "and", "that", "have", "with")
"""Of which English prose has two or more (Rae et al. 2021)."""

_SPACELESS: Final = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])"
)
_NOT_IN_WORDS: Final = re.compile(r"[\W_]+")
_MOST_WORDS, _MOST_CHARACTERS = 1 << 18, 1 << 22  # of a vocabulary: about 40 MB


class Vocabulary(dict[str, int]):
    """Words seen so far, each with its place in columns of what is known of it: half a microsecond a word less than asking again.

    key: 64 bits of a hash of the word in lower case without punctuation, 0 where nothing is left. length: in characters. bare: its
    length without punctuation. letters: whether it has a letter. stop: one bit for each of STOP_WORDS.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clear()

    def clear(self) -> None:
        super().clear()
        self._characters = 0
        self._make_room(1 << 12)

    def trim(self) -> None:
        """Forgets everything where it has grown too large. Places given before are void."""
        if len(self) > _MOST_WORDS or self._characters > _MOST_CHARACTERS:
            self.clear()

    def __missing__(self, word: str) -> int:
        place = len(self)
        if place == len(self.key):
            self._make_room(2 * place)
        bare = _NOT_IN_WORDS.sub("", word.lower())
        self.key[place] = int.from_bytes(blake2b(bare.encode("utf-8", "surrogatepass"), digest_size=8).digest()) if bare else 0
        self.length[place] = len(word)
        self.bare[place] = len(bare)
        self.letters[place] = any(map(str.isalpha, bare))
        self.stop[place] = 1 << STOP_WORDS.index(bare) if bare in STOP_WORDS else 0
        self._characters += len(word)
        self[word] = place
        return place

    def _make_room(self, size: int) -> None:
        held = len(self)

        def larger(name: str, dtype: type[np.generic]) -> NDArray[np.generic]:
            column = np.zeros(size, dtype=dtype)
            if held:
                column[:held] = getattr(self, name)[:held]
            return column

        self.key: NDArray[np.uint64] = larger("key", np.uint64)  # type: ignore[assignment]
        self.length: NDArray[np.int64] = larger("length", np.int64)  # type: ignore[assignment]
        self.bare: NDArray[np.int64] = larger("bare", np.int64)  # type: ignore[assignment]
        self.letters: NDArray[np.bool_] = larger("letters", np.bool_)  # type: ignore[assignment]
        self.stop: NDArray[np.uint8] = larger("stop", np.uint8)  # type: ignore[assignment]


class Split:
    """A text's words, lines and paragraphs, each made once and only when a rule asks.

    `words` (W) are what stands between spaces; a character of a script without spaces is a word of its own, and then the text is
    not `spaced`. The arrays are of the N words that have a letter or a digit: `keys` (N,) are their hashes, `lengths` (N,) their
    characters.
    """

    def __init__(self, text: str, vocabulary: Vocabulary, counts: Counts | None = None) -> None:
        self.text = text
        self._counts = counts
        self._ngrams: dict[int, NDArray[np.uint64]] = {}
        parted = text if text.isascii() else _SPACELESS.sub(r" \1 ", text)
        self.spaced = len(parted) == len(text)
        self.words = parted.split()
        vocabulary.trim()
        places = np.fromiter(map(vocabulary.__getitem__, self.words), dtype=np.intp, count=len(self.words))
        keys = vocabulary.key[places]
        if not keys.all():
            places = places[keys != 0]
            keys = vocabulary.key[places]
        self.keys = keys
        self.lengths = vocabulary.length[places]
        self.bare_characters = int(vocabulary.bare[places].sum())
        self.lettered_words = int(np.count_nonzero(vocabulary.letters[places]))
        self.stop_words = int(np.bitwise_or.reduce(vocabulary.stop[places])).bit_count() if len(places) else 0

    @property
    def counts(self) -> Counts:
        if self._counts is None:
            self._counts = Counts(self.text)
        return self._counts

    @cached_property
    def lines(self) -> list[str]:
        """Lines without the white space around them, empty ones left out."""
        return [line for line in map(str.strip, self.text.split("\n")) if line]

    @cached_property
    def paragraphs(self) -> list[str]:
        """What stands between blank lines."""
        return (
            [part for part in map(str.strip, re.split(r"\n\s*\n", self.text)) if part] if "\n" in self.text else [self.text.strip()]
        )

    def ngrams(self, n: int) -> NDArray[np.uint64]:
        """A polynomial hash modulo 2^64 of every n words in a row (Karp & Rabin 1987): (N - n + 1,), or none.

        The sum of key·base^place up to each place once, the difference of two such sums, and base^-place to make it the same
        everywhere: two passes for each n, whatever its size.
        """
        held = self._ngrams.get(n)
        if held is None:
            sums = self._sums
            held = self._ngrams[n] = (sums[n:] - sums[:-n]) * _powers(len(self.keys))[1][: max(len(self.keys) - n + 1, 0)]
        return held

    @cached_property
    def _sums(self) -> NDArray[np.uint64]:
        sums = np.zeros(len(self.keys) + 1, dtype=np.uint64)
        np.cumsum(self.keys * _powers(len(self.keys))[0][: len(self.keys)], out=sums[1:])
        return sums


_BASE: Final = 0x9E3779B97F4A7C15  # odd, hence it has an inverse
_power_tables: list[NDArray[np.uint64]] = []


def _powers(size: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """base^0, base^1 ... and base^0, base^-1 ..., at least `size` of each."""
    if not _power_tables or len(_power_tables[0]) < size:
        count = max(1 << 12, 1 << size.bit_length())
        _power_tables[:] = [_table(_BASE, count), _table(pow(_BASE, -1, 1 << 64), count)]
    return _power_tables[0], _power_tables[1]


def _table(base: int, count: int) -> NDArray[np.uint64]:
    factors = np.full(count, base, dtype=np.uint64)
    factors[0] = 1
    return np.cumprod(factors, dtype=np.uint64)
