"""Repeated garbage is turned away, refrains stay; what is counted is what a plain count of words gives."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.data.cleaning.config import GOPHER_C4_FINEWEB, QualityRules
from llm.data.cleaning.repetition import duplicate_characters, repeated, repetitive, top_characters
from llm.data.cleaning.split import Split, Vocabulary

DEFAULTS = QualityRules()
REFRAIN = """Row, row, row your boat,
Gently down the stream.
Merrily, merrily, merrily, merrily,
Life is but a dream."""
WORDS = st.lists(st.sampled_from(["a", "bb", "ccc", "dddd"]), max_size=60)


def verdict(text: str, rules: QualityRules = DEFAULTS) -> str:
    found = repetitive(Split(text, Vocabulary()), rules)
    return f"{found.reason} {found.detail.split(':')[0]}" if found else ""


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("LADY ANNE: God give  " * 60, "repetitive max_top_4_gram"),
        ("O Romeo, Romeo! wherefore art thou Romeo? " * 30, "repetitive max_duplicate_5_grams"),
        ("BRUTUS: " * 60, "repetitive max_top_2_gram"),
        ("buy now\n" * 40, "repetitive max_duplicate_lines"),
        ("one line\nand another\n\n" * 20, "repetitive max_duplicate_lines"),
        ("HERMIONE:" * 100, "repetitive without spaces, and compressed to"),
    ],
)
def test_text_that_says_one_thing_over_and_over_is_turned_away(text: str, rule: str) -> None:
    assert verdict(text).startswith(rule)


@pytest.mark.parametrize(
    "text", [REFRAIN, f"{REFRAIN}\n\n{REFRAIN}", "ha ha ha ha ha", "x" * 20, "\n".join(f"step {i} of ten" for i in range(10))]
)
def test_a_refrain_may_repeat_itself(text: str) -> None:
    assert verdict(text) == ""


def test_the_published_limits_are_stricter() -> None:
    twice = "\n".join(
        f"This is line number {word} of the text that is said twice." for word in "one two three four five six".split()
    )
    assert verdict(f"{twice}\n\n{twice}") == ""
    assert verdict(f"{twice}\n\n{twice}", GOPHER_C4_FINEWEB) == "repetitive max_duplicate_lines"


def test_repeated_parts_are_counted_with_their_characters() -> None:
    assert repeated(["a", "bb", "a", "a", "bb", "c"]) == (3, 4)
    assert repeated(["a", "b"]) == (0, 0)


@given(WORDS, st.integers(2, 4))
def test_the_commonest_words_in_a_row_are_those_of_a_plain_count(words: list[str], n: int) -> None:
    grams = [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)]
    counts = Counter(grams)
    gram, most = counts.most_common(1)[0] if grams else ("", 0)
    split = Split(" ".join(words), Vocabulary())
    expected = most * len(gram) if most > 1 else 0
    assert top_characters(split.ngrams(n), split.lengths, n) == expected
    for above in (10, 30, 100):
        found = top_characters(split.ngrams(n), split.lengths, n, above=above)
        assert found == expected if expected > above else found <= above


@given(WORDS, st.integers(5, 10))
def test_words_in_a_row_that_come_again_are_those_of_a_plain_count(words: list[str], n: int) -> None:
    """As datatrove reads Gopher: from the left, and on behind what was found."""
    seen: set[tuple[str, ...]] = set()
    expected = place = 0
    while place < len(words) - n + 1:
        gram = tuple(words[place : place + n])
        if gram in seen:
            expected += len("".join(gram))
            place += n
        else:
            seen.add(gram)
            place += 1
    split = Split(" ".join(words), Vocabulary())
    assert duplicate_characters(split.ngrams(n), split.lengths, n) == expected


def test_longer_runs_never_come_to_nothing_before_shorter_ones() -> None:
    """What the rules on five to ten words rely on when they stop early."""
    split = Split("a b c d e f g h " * 3, Vocabulary())
    characters = [duplicate_characters(split.ngrams(n), split.lengths, n) for n in range(5, 11)]
    assert all(longer == 0 or shorter > 0 for shorter, longer in pairwise(characters))
