"""Whether a document holds what a model will be tested on: words in a row that it shares with an evaluation set.

13-grams of words in lower case without punctuation, over the whole document (Brown et al. 2020, appendix C; Touvron et al. 2023):
line ends and indentation count for nothing, so that a question wrapped anew is found. A question that is shorter is looked for as a
whole. All lookups are in sorted 64-bit hashes behind a small table.
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


class NgramIndex:
    """The n-grams of evaluation sets, called `names`: for each length of n-gram a sorted array of hashes, and whose each is."""

    def __init__(
        self, names: Sequence[str], hashes: Mapping[int, NDArray[np.uint64]], owners: Mapping[int, NDArray[np.int32]]
    ) -> None:
        self.names, self._hashes, self._owners = tuple(names), dict(hashes), dict(owners)
        self._tables = {n: _Table(found) for n, found in self._hashes.items()}

    @classmethod
    def build(cls, texts: Iterable[str] | Mapping[str, Iterable[str]], *, words: int = NGRAM) -> Self:
        """Of one set's texts, or of several sets by name; a text of fewer than `words` is looked for whole, unless trivial."""
        sets: Mapping[str, Iterable[str]] = texts if isinstance(texts, Mapping) else {"evaluation": texts}
        vocabulary, found = Vocabulary(), dict[int, dict[int, int]]()
        for owner, each in enumerate(sets.values()):
            for text in each:
                split = Split(text, vocabulary)
                n = min(len(split.keys), words)
                if n == words or not is_trivial(split):
                    held = found.setdefault(n, {})
                    for value in split.ngrams(n).tolist():
                        held.setdefault(value, owner)
        hashes, owners = dict[int, NDArray[np.uint64]](), dict[int, NDArray[np.int32]]()
        for n, held in sorted(found.items()):
            values = np.fromiter(held, dtype=np.uint64, count=len(held))
            order = np.argsort(values)
            hashes[n], owners[n] = values[order], np.fromiter(held.values(), dtype=np.int32, count=len(held))[order]
        return cls(list(sets), hashes, owners)

    def __len__(self) -> int:
        return sum(map(len, self._hashes.values()))

    def overlap(self, split: Split) -> Overlap | None:
        """The first words in a row that are also in an evaluation set, of those that have a letter or a digit."""
        first: Overlap | None = None
        for n, known in self._hashes.items():
            values = split.ngrams(n)
            if not len(values):
                continue
            places = np.flatnonzero(self._tables[n].may_hold(values))
            if not len(places):
                continue
            at = np.searchsorted(known, values[places])
            at[at == len(known)] = 0
            hits = np.flatnonzero(known[at] == values[places])
            if len(hits) and (first is None or places[hits[0]] < first.start):
                start = int(places[hits[0]])
                first = Overlap(self.names[self._owners[n][at[hits[0]]]], start, start + n)
        return first

    def save(self, path: Path) -> None:
        """Writes one .npz file that `load` reads, in this process or another."""
        arrays: dict[str, Any] = {"names": np.array(self.names)}
        for n in self._hashes:
            arrays |= {f"hashes{n}": self._hashes[n], f"owners{n}": self._owners[n]}
        with path.open("wb") as file:
            np.savez(file, **arrays)

    @classmethod
    def load(cls, path: Path) -> Self:
        with np.load(path) as arrays:
            sizes = sorted(int(name.removeprefix("hashes")) for name in arrays.files if name.startswith("hashes"))
            hashes = {n: arrays[f"hashes{n}"] for n in sizes}
            return cls(arrays["names"].tolist(), hashes, {n: arrays[f"owners{n}"] for n in sizes})

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.names, self._hashes, self._owners)  # the tables are made again: they are larger than the rest


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
