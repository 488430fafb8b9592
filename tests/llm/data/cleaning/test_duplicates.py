"""What repeats an earlier document is found, what does not is kept, and neither hangs on chance or on memory."""

import gzip
import json
import random
from pathlib import Path

import numpy as np
import pytest

from llm.data.cleaning.duplicates import digest, layout, near_duplicates, near_duplicates_of, repeated, signatures

WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in ("n", "r", "st", "ck")]


def text_of(words: int, seed: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def with_changes(text: str, changes: int, seed: int) -> str:
    words, choose = text.split(), random.Random(seed)
    for place in choose.sample(range(len(words)), changes):
        words[place] = choose.choice(WORDS)
    return " ".join(words)


def test_white_space_makes_no_other_text_and_case_does() -> None:
    assert digest(" a  text\r\nof two lines\n") == digest("a text of two lines")
    assert digest("May I?") != digest("may I?")
    assert len(digest("\ud800")) == 16


def test_the_first_of_equal_digests_is_the_one_that_is_kept() -> None:
    digests = np.array([[5, 1], [7, 7], [5, 2], [5, 1], [7, 7], [0, 0]], np.uint64)
    assert repeated(digests).tolist() == [0, 1, 2, 0, 1, 5]
    assert repeated(np.zeros((0, 2), np.uint64)).tolist() == []


@pytest.mark.parametrize("similarity", [0.6, 0.7, 0.8, 0.9])
def test_nine_of_ten_pairs_that_are_just_similar_enough_become_candidates(similarity: float) -> None:
    bands, rows = layout(similarity)
    assert bands * rows <= 112
    assert 1 - (1 - similarity**rows) ** bands > 0.89


def test_from_a_similarity_of_0_8_on_the_bands_are_those_of_the_literature() -> None:
    assert layout(0.8) == layout(0.95) == (14, 8)


@pytest.mark.parametrize(("words", "changes"), [(16, 1), (20, 1), (30, 2), (50, 2), (64, 2), (100, 3), (700, 20)])
def test_documents_with_a_few_words_changed_are_found_at_every_length(words: int, changes: int) -> None:
    originals = [text_of(words, seed) for seed in range(60)]
    changed = [with_changes(text, changes, seed) for seed, text in enumerate(originals)]
    found = near_duplicates_of(originals + changed, 0.7)
    assert found[:60] == [None] * 60
    assert sum(first == place for place, first in enumerate(found[60:])) >= 55


def test_the_first_of_a_chain_stays() -> None:
    first = text_of(100, 1)
    second = with_changes(first, 2, 2)
    third = with_changes(second, 2, 3)
    other = text_of(100, 4)
    assert near_duplicates_of([first, other, second, third], 0.7) == [None, None, 0, 0]
    assert near_duplicates_of([third, second, other, first], 0.7) == [None, 0, None, 0]


def test_texts_without_a_word_repeat_each_other_only_to_the_letter() -> None:
    assert near_duplicates_of(["?!", "...", "?!", "", "", "Yes.", "YES"], 0.7) == [None, None, 0, None, 3, None, 5]
    assert near_duplicates_of([], 0.7) == []


def test_a_bucket_of_thousands_is_one_cluster() -> None:
    base = text_of(80, 5)
    texts = [f"{base} {number}" for number in range(3000)]
    assert near_duplicates_of(texts, 0.7) == [None] + [0] * 2999


def test_candidates_are_verified_and_texts_read_for_them_alone() -> None:
    texts = [text_of(60, seed) for seed in range(50)] + [text_of(60, 7) + " more"]
    found = signatures(texts, 0.7)
    asked: list[int] = []

    def read(places: np.ndarray) -> list[str]:
        asked.extend(places.tolist())
        return [texts[place] for place in places]

    first = near_duplicates(len(texts), lambda band: (found.owner, found.bands[:, band]), read, 0.7)
    assert np.flatnonzero(first != np.arange(51)).tolist() == [50]
    assert first[50] == 7
    assert set(asked) >= {7, 50}
    assert len(asked) < 10


def test_signatures_of_a_text_do_not_hang_on_the_batch() -> None:
    texts = [text_of(n, n) for n in (3, 20, 55, 200)]
    together = signatures(texts, 0.8)
    assert together.owner.tolist() == [0, 1, 2, 2, 3]
    assert together.bands.shape == (5, 14)
    np.testing.assert_array_equal(together.bands, np.concatenate([signatures([text], 0.8).bands for text in texts]))


def test_planted_duplicates_are_found_and_clean_lines_are_kept(data_folder: Path) -> None:
    labels = json.loads((data_folder / "messy-synthetic/documents.labels.json").read_text())
    rows = [json.loads(line) for line in (data_folder / "messy-synthetic/documents.jsonl").read_text().splitlines()]
    kinds = [labels[row["id"]] for row in rows]
    firsts = near_duplicates_of([row["text"] for row in rows], 0.7)
    pairs = [(kinds[place], kinds[first]) for place, first in enumerate(firsts) if first is not None]
    for kind in ("exact-duplicate", "near-duplicate"):
        assert sum(kind in pair for pair in pairs) >= 0.95 * kinds.count(kind)  # either of the two may be the one that goes
    assert not [pair for pair in pairs if set(pair) == {"clean"}]


def test_instructions_that_only_sound_alike_are_kept(data_folder: Path) -> None:
    with gzip.open(data_folder / "alpaca-5k/alpaca-5k.jsonl.gz") as lines:
        texts = [json.loads(line)["instruction"] for line in lines]
    assert sum(first is not None for first in near_duplicates_of(texts, 0.8)) <= 5
