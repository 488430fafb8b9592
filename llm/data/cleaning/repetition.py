"""How much of a document repeats itself: the ten rules of Gopher (Rae et al. 2021, table A1), from hashes of its words."""

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llm.data.cleaning.config import QualityRules
from llm.data.cleaning.quality import Verdict
from llm.data.cleaning.split import Split

_HARDLY_WORDS = 100  # characters of a word on average, from which compression is asked in the place of words
_COMPRESSED = 0.1  # of its size; repeated characters fall far below, and random ones come to 0.7


def repetitive(split: Split, rules: QualityRules) -> Verdict | None:
    """The first rule of repetition that the document breaks."""
    size = len(split.text)
    if size > _HARDLY_WORDS * max(len(split.words), 1):
        packed = len(zlib.compress(split.text.encode("utf-8", "surrogatepass"), 1)) / size
        if packed < _COMPRESSED:
            return Verdict("repetitive", f"without spaces, and compressed to {packed:.3g} of its size")
    if len(split.keys) < rules.repetition_words or not len(split.keys):
        return None
    return _parts(split, rules) or _top(split, rules) or _duplicates(split, rules)


def _parts(split: Split, rules: QualityRules) -> Verdict | None:
    """Lines and paragraphs that occurred before."""
    for name, parts, most, most_characters in (
        ("line", split.lines, rules.max_duplicate_lines, rules.max_duplicate_line_characters),
        ("paragraph", split.paragraphs, rules.max_duplicate_paragraphs, rules.max_duplicate_paragraph_characters),
    ):
        count, characters = repeated(parts)
        if count > most * len(parts):
            return _verdict(f"max_duplicate_{name}s", count / len(parts), most)
        if characters > most_characters * len(split.text):
            return _verdict(f"max_duplicate_{name}_characters", characters / len(split.text), most_characters)
    return None


def repeated(parts: Sequence[str]) -> tuple[int, int]:
    """How many of the parts occurred before, and their characters."""
    if len(set(parts)) == len(parts):
        return 0, 0
    seen: set[str] = set()
    again = [part for part in parts if part in seen or seen.add(part)]  # type: ignore[func-returns-value]
    return len(again), sum(map(len, again))


def _top(split: Split, rules: QualityRules) -> Verdict | None:
    for n, most in ((2, rules.max_top_2_gram), (3, rules.max_top_3_gram), (4, rules.max_top_4_gram)):
        characters = top_characters(split.ngrams(n), split.lengths, n, above=most * len(split.text))
        if characters > most * len(split.text):
            return _verdict(f"max_top_{n}_gram", characters / len(split.text), most)
    return None


def top_characters(hashes: NDArray[np.uint64], lengths: NDArray[np.int64], n: int, *, above: float = 0) -> int:
    """Characters in all places of the n-gram that occurs most often, the spaces in it with them; of several the first counts.

    0 where none occurs twice, or none often enough to come to more than `above` characters, however long its words.
    """
    if not len(hashes):
        return 0
    longest = n * int(lengths.max()) + n - 1
    fewest = max(2, int(above / longest) + 1)
    if len(hashes) < fewest:
        return 0
    ordered = np.sort(hashes)
    if not (ordered[fewest - 1 :] == ordered[: len(ordered) - fewest + 1]).any():
        return 0
    values, counts = np.unique_counts(hashes)
    most = int(counts.max())
    first = int(np.isin(hashes, values[counts == most]).argmax())
    return most * (int(lengths[first : first + n].sum()) + n - 1)


def _duplicates(split: Split, rules: QualityRules) -> Verdict | None:
    for n, most in (
        (5, rules.max_duplicate_5_grams),
        (6, rules.max_duplicate_6_grams),
        (7, rules.max_duplicate_7_grams),
        (8, rules.max_duplicate_8_grams),
        (9, rules.max_duplicate_9_grams),
        (10, rules.max_duplicate_10_grams),
    ):
        characters = duplicate_characters(split.ngrams(n), split.lengths, n)
        if characters > most * len(split.text):
            return _verdict(f"max_duplicate_{n}_grams", characters / len(split.text), most)
        if not characters:  # what holds no run of n words twice holds none of n + 1
            return None
    return None


def duplicate_characters(hashes: NDArray[np.uint64], lengths: NDArray[np.int64], n: int) -> int:
    """Characters in runs of n words that occurred before, read from the left, no word counted twice."""
    if len(hashes) < 2:
        return 0
    ordered = np.sort(hashes)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if not len(twice):
        return 0
    places = np.flatnonzero(np.isin(hashes, twice))
    characters, free, seen = 0, 0, set[int]()
    for place, value in zip(places.tolist(), hashes[places].tolist(), strict=True):
        if place < free:
            continue
        if value in seen:
            characters += int(lengths[place : place + n].sum())
            free = place + n
        else:
            seen.add(value)
    return characters


def _verdict(rule: str, found: float, most: float) -> Verdict:
    return Verdict("repetitive", f"{rule}: {found:.3g}, at most {most:.3g}")
