"""The split that all rules share: words, and hashes of words in a row that mean the same in every process."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.data.cleaning import split as splitting
from llm.data.cleaning.split import Split, Vocabulary

WORDS = st.lists(st.sampled_from(["a", "The", "don't", "--", "x1", "été", "。", "word,"]), max_size=60)


def test_words_stand_between_spaces_and_case_and_punctuation_make_no_difference() -> None:
    one, other = Split('"Don\'t", said  the Fox -- \n2 times!', Vocabulary()), Split("dont said THE fox 2 times", Vocabulary())
    assert one.words == ['"Don\'t",', "said", "the", "Fox", "--", "2", "times!"]
    assert one.keys.tolist() == other.keys.tolist()
    assert (one.lettered_words, one.stop_words, one.bare_characters) == (5, 1, len("dontsaidthefox2times"))
    assert one.lengths.tolist() == [8, 4, 3, 3, 1, 6]


def test_characters_of_scripts_without_spaces_are_words() -> None:
    chinese = Split("这是文本 and more", Vocabulary())
    assert chinese.words == ["这", "是", "文", "本", "and", "more"]
    assert not chinese.spaced
    assert Split("and more", Vocabulary()).spaced


def test_a_hash_is_the_same_in_every_process() -> None:
    assert Split("to be or not", Vocabulary()).ngrams(2).tolist() == [1134472780554312248, 1182696783218797736, 7811202604245112931]


@given(WORDS, st.integers(1, 13))
def test_the_hash_of_words_in_a_row_is_their_polynomial(words: list[str], n: int) -> None:
    split = Split(" ".join(words), Vocabulary())
    keys, base = [int(key) for key in split.keys], 0x9E3779B97F4A7C15
    expected = [sum(keys[i + j] * pow(base, j, 1 << 64) for j in range(n)) % (1 << 64) for i in range(len(keys) - n + 1)]
    assert split.ngrams(n).tolist() == expected


def test_a_vocabulary_that_grew_too_large_forgets_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splitting, "_MOST_WORDS", 100)
    vocabulary, fresh = Vocabulary(), Vocabulary()
    for number in range(50):
        text = " ".join(f"word{number * 7 + each}" for each in range(20))
        assert np.array_equal(Split(text, vocabulary).keys, Split(text, fresh).keys)
        assert len(vocabulary) <= 121


def test_lines_and_paragraphs_are_those_with_something_in_them() -> None:
    split = Split("one\n two \n\n\n  \nthree\n", Vocabulary())
    assert split.lines == ["one", "two", "three"]
    assert split.paragraphs == ["one\n two", "three"]
