"""The profile: what expectations judge is counted over every document, and its sample shows the worst of them."""

import random
import time
import unicodedata
from dataclasses import fields

import pytest

from llm.data.config import Expectations
from llm.data.documents import Document
from llm.data.profile import Profiler, count_kinds, profile
from llm.data.sampling import Row

WORDS = "Compare the profile of a corpus with what is expected of it, and stop before anything is trained. "


def texts(*given: str) -> list[Document]:
    return [Document(f"f:{n}", f"f:{n}", "f", text) for n, text in enumerate(given, start=1)]


def test_the_numbers_are_those_of_every_document() -> None:
    numbers = profile(texts("abcd", "é☃12", "", "abcd", "a\x07\ufffd ")).numbers
    exact = {
        "documents": 5,
        "bytes": 4 + 7 + 0 + 4 + 6,
        "empty_share": 0.2,
        "mean_bytes": 4.2,
        "median_bytes": 4,
        "shortest_bytes": 0,
        "longest_bytes": 7,
        "duplicate_share": 0.2,
        "control_share": 1 / 16,
        "replacement_share": 1 / 16,
        "letter_share": 10 / 16,
    }
    assert {name: numbers[name] for name in exact} == exact


def test_every_expectation_has_its_number() -> None:
    numbers = profile(texts("a")).numbers
    bounded = {field.name.partition("_")[2] for field in fields(Expectations)}
    assert bounded - set(numbers) == {"lettered_share"}  # judged on the sample
    assert profile([]).numbers["documents"] == 0


@pytest.mark.parametrize("text", ["plain ASCII 12 \x00\x1b\x7f\t\n\r\f", "naïve ☃ Ωμέγα 语言 हिन्दी \x85\x9f\ufeff 😀 𝒳 \x07"])
def test_letters_and_controls_are_those_of_unicode(text: str) -> None:
    letters = sum(character.isalpha() for character in text)
    controls = sum(unicodedata.category(character) == "Cc" and character not in "\t\n\r\f" for character in text)
    assert count_kinds(text, text.encode()) == (letters, controls)


def test_repetition_and_noise_show_in_the_compressed_size() -> None:
    noise = "".join(random.Random(1).choices([chr(code) for code in range(33, 127)], k=50_000))
    assert profile(texts("the same line\n" * 20_000)).numbers["compressed_share"] < 0.02
    assert profile(texts(*("the same row" for _ in range(9)))).numbers["compressed_share"] < 0.5
    assert profile(texts(noise)).numbers["compressed_share"] > 0.8


def test_the_sample_keeps_examples_of_what_may_be_wrong() -> None:
    given = texts(
        *(WORDS * (n % 40 + 1) + str(n) for n in range(6000)), "", "twice", "twice", "bell \x07", "lost \ufffd", "1 2 3", "x" * 9999
    )
    rows = profile(given).rows
    kept = {name: [row.id for row in rows if row.kept_for == name] for name in {row.kept_for for row in rows} - {""}}
    assert kept["empty_share"] == ["f:6001"]
    assert kept["duplicate_share"] == ["f:6003"]
    assert kept["control_share"] == ["f:6004"]
    assert kept["replacement_share"] == ["f:6005"]
    assert kept["letter_share"][0] == "f:6006"
    assert kept["shortest_bytes"][0] == "f:6001"
    assert kept["longest_bytes"][0] == "f:6007"


def test_the_sample_has_a_quarter_from_each_quarter_of_the_lengths_and_is_the_same_again() -> None:
    given = texts(*("x" * n + " " for n in range(1, 9001)))
    drawn = [row for row in profile(given).rows if not row.kept_for]
    assert len({row.id for row in drawn}) == 1000
    quarters = [sum(2250 * quarter < row.bytes - 1 <= 2250 * (quarter + 1) for row in drawn) for quarter in range(4)]
    assert quarters == pytest.approx([250] * 4, abs=15)
    assert [row for row in profile(given).rows if not row.kept_for] == drawn
    assert [row for row in profile(given, seed=1).rows if not row.kept_for] != drawn


def test_documents_pass_through_untouched() -> None:
    given, profiler = texts("a", "b", "b"), Profiler()
    assert list(profiler.watch(given)) == given
    assert profiler.result() == profile(given)


def test_a_preview_is_one_line_that_moves_no_cursor() -> None:
    (row,) = (row for row in profile(texts("naïve\n\x1b[2J\u202e" + "x" * 200)).rows if not row.kept_for)
    assert row.preview == "naïve\\n\\x1b[2J\\u202e" + "x" * (80 - 11)
    assert set(profile(texts("a")).sample()) == {field.name for field in fields(Row)}


def test_it_keeps_up_with_reading() -> None:
    given = texts(*(f"{n} naïve {WORDS * 40}" for n in range(1500)))
    profile(given[:10])  # the table of letters is made once
    start = time.process_time()
    numbers = profile(given).numbers
    assert numbers["bytes"] / (time.process_time() - start) > 20e6
