"""Two texts are compared by what a reader calls the same words, whatever the language, the length and the batch."""

import re

import numpy as np
import pytest

from llm.data.cleaning.shingles import LONG_FROM, SHORT_TO, WORDS, jaccard, shingle

LONG = " ".join(f"word{i}" for i in range(100))


def similarity(one: str, other: str) -> float:
    kinds = shingle([one, other])
    return max(jaccard(kind.of(0), kind.of(1)) for kind in kinds)


@pytest.mark.parametrize("text", ["To be, or not to be: that is the question.", LONG])
def test_case_punctuation_and_white_space_make_no_difference(text: str) -> None:
    other = "  " + re.sub(" ", " , \n", text.upper()) + "?!"
    assert similarity(text, other) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2 + 2 = 4", "2 - 2 = 4"),
        ("costs $5", "costs €5"),
        ("no", "yes"),
        ("你好世界你好", "你好世界再见"),
        ("dog bites man", "man bites dog"),
    ],
)
def test_what_a_reader_tells_apart_is_not_the_same(one: str, other: str) -> None:
    assert similarity(one, other) < 0.7


def test_words_of_every_script_are_compared() -> None:
    prose = (
        "Ünïcödé ça marche",
        "Это короткий пример текста",
        "هذا نص قصير للاختبار",
        "นี่คือข้อความ",
        "これは短い文章です",
        "I",
        "😀",
        "𝒳",
    )
    for text in prose:
        assert similarity(text, text.upper()) == 1
    assert similarity("?!", "?!") == 0


def test_a_text_has_the_shingles_of_the_papers_where_it_is_long() -> None:
    characters, words = shingle([LONG])
    assert len(words.of(0)) == 100 - WORDS + 1
    assert len(characters.of(0)) == 0


@pytest.mark.parametrize("length", range(LONG_FROM - 2, SHORT_TO + 3))
def test_one_word_more_or_less_is_seen_at_every_length(length: int) -> None:
    words = LONG.split()
    assert similarity(" ".join(words[:length]), " ".join(words[: length + 1])) > 0.9


def test_the_batch_around_a_text_changes_nothing() -> None:
    longer = f"{LONG} " * 1000  # than what is hashed in one go
    texts = ["", "short é", longer, "...", LONG, "汉字 and more", "x"]
    together = shingle(texts)
    for place, text in enumerate(texts):
        for kind, alone in zip(together, shingle([text]), strict=True):
            np.testing.assert_array_equal(kind.of(place), alone.of(0))
    assert len(together[1].of(2)) == 100  # the words go round in a circle: no cut made another run of them


def test_jaccard_is_that_of_the_sets() -> None:
    one, other = np.array([1, 3, 5, 7], np.uint64), np.array([3, 4, 5], np.uint64)
    assert jaccard(one, other) == 2 / 5
    assert jaccard(one, one) == 1
    assert jaccard(one, np.zeros(0, np.uint64)) == 0
