"""Whether a document holds what a model will be tested on: words in a row that it shares with an evaluation set.

13-grams of words in lower case without punctuation, over the whole document (Brown et al. 2020, appendix C; Touvron et al. 2023):
line ends and indentation count for nothing, so that a question wrapped anew is found. A question that is shorter is looked for as a
whole, where its first four words stand. All lookups are in sorted 64-bit hashes behind a small table.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from llm.data.cleaning.split import Split, Vocabulary

NGRAM: Final = 13
_FEWEST_WORDS = 4  # of a question that is looked for as a whole, where it has
_FEWEST_CHARACTERS = 16  # characters or more: shorter ones are what anybody says
_FEWEST_RARE = 2  # words that are none of the commonest; `what is the name of it` is no question of a test
_ROOM = 5  # bits: places in the table for each n-gram are two to this many, so that one in 32 others at most goes on to the search

# fmt: off
_COMMON: Final = frozenset((
    "a", "about", "all", "am", "an", "and", "any", "are", "as", "at", "be", "been", "being", "but", "by", "can", "could", "did",
    "do", "does", "for", "from", "had", "has", "have", "he", "her", "him", "his", "how", "i", "if", "in", "into", "is", "it",
    "its", "me", "my", "no", "not", "of", "on", "one", "or", "our", "she", "should", "so", "than", "that", "the", "their",
    "them", "then", "there", "these", "they", "this", "those", "to", "was", "we", "were", "what", "when", "where", "which",
    "who", "whom", "whose", "why", "will", "with", "would", "you", "your", "following", "statement", "statements", "true",
    "false", "correct", "answer", "question", "options", "none", "both", "above", "below", "best", "describes", "most",
))
# fmt: on


@dataclass(frozen=True)
class Overlap:
    """Words in a row that a document shares with an evaluation set: which set, and the words' places, from `start` to `end`."""

    evaluation_set: str
    start: int
    end: int


@dataclass(frozen=True)
class _Short:
    """A question of fewer words than an n-gram: how many, the hash of all of them, and whose it is."""

    words: int
    hash: int
    owner: int


class NgramIndex:
    """What is looked for: the n-grams of evaluation sets called `names`, as sorted hashes, and short questions by first words.

    hashes (N,) ascending and owners (N,), the place of each one's set among `names`; short (M, 4): the hash of the first words,
    the number of words, the hash of all, and the owner.
    """

    def __init__(
        self,
        names: Sequence[str],
        words: int,
        hashes: NDArray[np.uint64],
        owners: NDArray[np.int32],
        short: NDArray[np.uint64],
    ) -> None:
        self.names, self.words = tuple(names), words
        self._hashes, self._owners, self._rows = hashes, owners, short
        self._short: dict[int, list[_Short]] = {}
        for first, *rest in short.tolist():
            self._short.setdefault(first, []).append(_Short(*rest))
        self._table, self._heads = _Table(hashes), _Table(short[:, 0])

    @classmethod
    def build(cls, texts: Iterable[str] | Mapping[str, Iterable[str]], *, words: int = NGRAM) -> Self:
        """Of one set's texts, or of several sets by name; a text of fewer than `words` is looked for whole, unless trivial."""
        sets: Mapping[str, Iterable[str]] = texts if isinstance(texts, Mapping) else {"evaluation": texts}
        vocabulary, found, short = Vocabulary(), dict[int, int](), dict[tuple[int, ...], int]()
        for owner, each in enumerate(sets.values()):
            for text in each:
                split = Split(text, vocabulary)
                if len(split.keys) >= words:
                    for value in split.ngrams(words).tolist():
                        found.setdefault(value, owner)
                elif not is_trivial(split):
                    whole = split.ngrams(len(split.keys))
                    short.setdefault((int(split.ngrams(_FEWEST_WORDS)[0]), len(split.keys), int(whole[0])), owner)
        hashes = np.fromiter(found, dtype=np.uint64, count=len(found))
        order = np.argsort(hashes)
        owners = np.fromiter(found.values(), dtype=np.int32, count=len(found))
        rows = np.array([[*row, owner] for row, owner in sorted(short.items())], dtype=np.uint64).reshape(-1, 4)
        return cls(list(sets), words, hashes[order], owners[order], rows)

    def __len__(self) -> int:
        return len(self._hashes) + len(self._rows)

    def overlap(self, split: Split) -> Overlap | None:
        """The first words in a row that are also in an evaluation set, of those that have a letter or a digit."""
        found = [each for each in (self._long_overlap(split), self._short_overlap(split)) if each]
        return min(found, key=lambda each: each.start, default=None)

    def _long_overlap(self, split: Split) -> Overlap | None:
        values = split.ngrams(self.words)
        places = np.flatnonzero(self._table.may_hold(values))
        if not len(places):
            return None
        at = np.minimum(np.searchsorted(self._hashes, values[places]), len(self._hashes) - 1)
        hits = np.flatnonzero(self._hashes[at] == values[places])
        if not len(hits):
            return None
        start = int(places[hits[0]])
        return Overlap(self.names[self._owners[at[hits[0]]]], start, start + self.words)

    def _short_overlap(self, split: Split) -> Overlap | None:
        firsts = split.ngrams(_FEWEST_WORDS)
        for start in np.flatnonzero(self._heads.may_hold(firsts)).tolist():
            for question in self._short.get(int(firsts[start]), ()):
                wholes = split.ngrams(question.words)
                if start < len(wholes) and wholes[start] == question.hash:
                    return Overlap(self.names[question.owner], start, start + question.words)
        return None

    def save(self, path: Path) -> None:
        """Writes one .npz file that `load` reads, in this process or another."""
        with path.open("wb") as file:
            np.savez(file, names=np.array(self.names), words=self.words, hashes=self._hashes, owners=self._owners, short=self._rows)

    @classmethod
    def load(cls, path: Path) -> Self:
        with np.load(path) as held:
            return cls(held["names"].tolist(), int(held["words"]), held["hashes"], held["owners"], held["short"])

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.names, self.words, self._hashes, self._owners, self._rows)  # the tables are made again


def is_trivial(split: Split) -> bool:
    """Whether a short text is one that anybody writes: few words, few characters, or hardly a word that is rare."""
    bare = ["".join(filter(str.isalnum, word)).lower() for word in split.words]
    rare = {word for word in bare if word and word not in _COMMON and not word.isdigit()}
    return len(split.keys) < _FEWEST_WORDS or split.bare_characters < _FEWEST_CHARACTERS or len(rare) < _FEWEST_RARE


def question_texts(row: Mapping[str, Any]) -> list[str]:
    """What of an evaluation set's row is looked for: its question alone, and with what stands beside it.

    Takes the columns of the usual sets: question, instruction, input, prompt, problem, context, goal, sentence, text; choices as a
    list, or in columns A, B, C and on.
    """
    texts = [str(row[name]) for name in _QUESTIONS if isinstance(row.get(name), str) and str(row[name]).strip()]
    if isinstance(choices := row.get("choices"), Mapping):  # ARC and its like keep texts and labels side by side
        choices = choices.get("text")
    if choices is None:
        choices = [row[name] for name in "ABCDEFGHIJ" if isinstance(row.get(name), str)]
    whole = [*texts, *(str(choice) for choice in choices)]
    return [*texts, " ".join(whole)] if len(whole) > 1 else texts


_QUESTIONS: Final = ("question", "instruction", "input", "prompt", "problem", "ctx", "context", "goal", "sentence", "text")


class _Table:
    """Which beginnings of a hash there are at all."""

    def __init__(self, hashes: NDArray[np.uint64]) -> None:
        bits = min(len(hashes).bit_length() + _ROOM, 26)
        self._shift = np.uint64(64 - bits)
        self._held = np.zeros(1 << bits, dtype=np.bool_)
        self._held[hashes >> self._shift] = True

    def may_hold(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        held: NDArray[np.bool_] = self._held[hashes >> self._shift]
        return held
