"""A byte n-gram model: what a table of counts makes of the same text. A language model that does not beat it has learnt little."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from infra.store.errors import InputError
from llm.evaluation.bits_per_byte import Scores

_BOUNDARY: Final = 256  # stands before a document's first byte
_SYMBOLS: Final = np.uint64(257)
_MAX_ORDER: Final = 6  # 257^(order + 1) must fit a uint64

Keys = NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class _Level:
    """Counts for contexts of one length, as sorted keys: a gram is its context's key times 257 plus the byte."""

    grams: Keys
    discounted: NDArray[np.float64]  # of each gram
    contexts: Keys
    totals: NDArray[np.float64]  # of each context, before the discount
    freed: NDArray[np.float64]  # what the discount took from each context, for the shorter context to give out


@dataclass(frozen=True, eq=False)
class NgramModel:
    """Each byte predicted from the `order` bytes before it: interpolated modified Kneser-Ney (Chen & Goodman, 1999).

    The shortest context of all falls back on 1/256, so that no byte is impossible. Held-out bits per byte at order 3, with
    Witten-Bell smoothing in brackets: docstrings of the standard library 2.158 (2.196), tinyshakespeare 2.265 (2.279).
    """

    order: int
    levels: tuple[_Level, ...]

    @classmethod
    def fit(cls, texts: Iterable[bytes | str], order: int = 3) -> Self:
        """Counts once through the texts, each with a start of its own: 0.07 s and 34 MB of memory for each MB of text.

        Raises InputError where there is no text.
        """
        assert 0 <= order <= _MAX_ORDER, f"order {order}"
        symbols, places, _ = _symbols(texts, order)
        if not len(places):
            raise InputError(
                "no text for the n-gram model to learn from", where="evaluate", mend="Give training documents with text."
            )
        grams, occurrences = np.unique(_grams(symbols, places, order), return_counts=True)
        levels = [_level(grams, occurrences)]
        for length in reversed(range(order)):
            grams, occurrences, counts = _shortened(grams, occurrences, length)
            levels.insert(0, _level(grams, counts))
        return cls(order, tuple(levels))

    def bits(self, documents: Iterable[bytes | str]) -> Scores:
        """What each document costs: exact probabilities, each document from its own start."""
        symbols, places, sizes = _symbols(documents, self.order)
        nats = -np.log(self._probabilities(symbols, places))
        kept = sizes[sizes > 0]
        starts = np.cumsum(kept) - kept
        return Scores(np.add.reduceat(nats, starts) if len(kept) else np.zeros(0), kept, int((sizes == 0).sum()))

    def distribution(self, before: bytes) -> NDArray[np.float64]:
        """The probability of each byte after a document that so far reads `before`: (256,)."""
        context = np.array([_BOUNDARY] * self.order + list(before), dtype=np.uint64)[len(before) :]
        symbols = np.concatenate([np.append(context, np.uint64(byte)) for byte in range(256)])
        return self._probabilities(symbols, np.arange(256) * (self.order + 1) + self.order)

    def _probabilities(self, symbols: Keys, places: NDArray[np.int64]) -> NDArray[np.float64]:
        """Of the byte at each place, from the shortest context to the longest: (len(places),)."""
        probability = np.full(len(places), 1 / 256)
        for length, level in enumerate(self.levels):
            grams = _grams(symbols, places, length)
            contexts = grams // _SYMBOLS
            total = _look_up(level.contexts, level.totals, contexts)
            backed = _look_up(level.grams, level.discounted, grams) + _look_up(level.contexts, level.freed, contexts) * probability
            probability = np.divide(backed, total, out=probability, where=total > 0)  # an unseen context says nothing new
        return probability


def _symbols(texts: Iterable[bytes | str], order: int) -> tuple[Keys, NDArray[np.int64], NDArray[np.int64]]:
    """All texts in a row, `order` boundary symbols before each; where their bytes stand; the bytes of each text."""
    raw = [text.encode() if isinstance(text, str) else text for text in texts]
    sizes = np.array([len(text) for text in raw], dtype=np.int64)
    ends = np.cumsum(sizes)
    places = np.arange(ends[-1] if len(ends) else 0) + order * (1 + np.repeat(np.arange(len(raw)), sizes))
    symbols = np.full(len(places) + order * len(raw), _BOUNDARY, dtype=np.uint64)
    symbols[places] = np.frombuffer(b"".join(raw), dtype=np.uint8)
    return symbols, places, sizes


def _grams(symbols: Keys, places: NDArray[np.int64], length: int) -> Keys:
    """The key of the symbol at each place after the `length` symbols before it."""
    keys = symbols.copy()
    for back in range(1, length + 1):
        keys[back:] += symbols[:-back] * _SYMBOLS ** np.uint64(back)
    return keys[places]


def _shortened(grams: Keys, occurrences: NDArray[np.int64], length: int) -> tuple[Keys, NDArray[np.int64], NDArray[np.int64]]:
    """Grams with contexts of `length` symbols out of those with one more, how often they occur, and their Kneser-Ney counts.

    A shorter gram counts how many different symbols stand before it. Nothing stands before a document's start, so what
    begins there counts as often as it occurs.
    """
    shorter, place = np.unique(grams % _SYMBOLS ** np.uint64(length + 1), return_inverse=True)
    occurring = np.bincount(place, weights=occurrences).astype(np.int64)
    at_start = shorter // _SYMBOLS ** np.uint64(length) == _BOUNDARY
    return shorter, occurring, np.where(at_start, occurring, np.bincount(place))


def _level(grams: Keys, counts: NDArray[np.int64]) -> _Level:
    contexts, first = np.unique(grams // _SYMBOLS, return_index=True)
    discounts = _discounts(counts)[np.minimum(counts, 3)]
    return _Level(
        grams,
        counts - discounts,
        contexts,
        np.add.reduceat(counts, first).astype(np.float64),
        np.add.reduceat(discounts, first),
    )


def _discounts(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """What is taken from counts of 0, 1, 2, and 3 or more (Chen & Goodman, 1999, equation 26): (4,).

    Text too short for the estimate gets a half of each. The least discount is above zero: no byte is ever impossible.
    """
    n1, n2, n3, n4 = (int((counts == times).sum()) for times in (1, 2, 3, 4))
    if not (n1 and n2 and n3):
        return np.array([0.0, 0.5, 1.0, 1.5])
    y = n1 / (n1 + 2 * n2)
    estimate = np.array([0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
    clipped: NDArray[np.float64] = np.clip(estimate, [0.0, 0.05, 0.05, 0.05], [0.0, 1.0, 2.0, 3.0])
    return clipped


def _look_up(keys: Keys, values: NDArray[np.float64], wanted: Keys) -> NDArray[np.float64]:
    """The value of each wanted key, 0 for one that is not there."""
    found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[found] == wanted, values[found], 0.0)
