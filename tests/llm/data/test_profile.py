"""The profile: what expectations judge is counted over every document, and its sample shows the worst of them."""

import json
import random
import time
import unicodedata
from dataclasses import fields

import pytest

from llm.data.counted import Counted, Example, total
from llm.data.documents import Document
from llm.data.expectations import Expectations
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
    profiler = Profiler()
    profiler.add(*texts("a text that is long enough to tell its language by"))
    numbers = profiler.result(Counted(rows=1, contamination=True, recall=1.0)).numbers
    bounded = {field.name.partition("_")[2] for field in fields(Expectations)}
    missing = {name for name in bounded - set(numbers) if not name.endswith("_drift")}  # between two versions
    assert missing - {"limits", "modules", "waivers", ""} == {"lettered_share"}  # judged on the sample
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


def test_parts_that_are_merged_give_what_one_pass_would() -> None:
    given = texts(*("x" * (n % 97) + f" {n % 1500} \x07"[: 7 + n % 3] for n in range(9000)))
    whole, one, other = Profiler(), Profiler(), Profiler()
    for document in given:
        whole.add(document)
    for document in given[:4000]:
        one.add(document)
    for document in given[4000:]:
        other.add(document)
    one.merge(other)
    expected, found = whole.result(), one.result()
    assert found.rows == expected.rows
    assert found.histograms == expected.histograms
    same = {name: value for name, value in expected.numbers.items() if name != "compressed_share"}
    assert {name: value for name, value in found.numbers.items() if name != "compressed_share"} == same
    assert found.numbers["compressed_share"] == pytest.approx(expected.numbers["compressed_share"], rel=0.05)


def test_what_cleaning_counted_is_part_of_the_profile() -> None:
    profiler = Profiler(duplicates=False)
    for document in texts("kept", "kept too"):
        profiler.add(document)
    rejected = {"exact-duplicate": 3, "empty": 1, "not-json": 2, "unreadable-file": 1, "low-quality": 1}
    example = Example("exact-duplicate", "d7", "a.jsonl", 7, "repeats d1", "kept\nonce more")
    counted = Counted(rows=10, rejected=rejected, found_rows={"pii:email": 1, "pii:key": 1, "pii": 1}, examples=(example,))
    found = profiler.result(counted)
    expected = {
        "rows": 2,
        "documents": 2,
        "rejected_share": 0.8,
        "duplicate_share": 0.3,
        "empty_share": 0.1,
        "malformed_share": 0.2,
        "low_quality_share": 0.1,
        "unreadable_files": 1,
        "pii_share": 0.5,
        "secret_share": 0.5,
        "pii_email_found_share": 0.5,
    }
    assert {name: found.numbers[name] for name in expected} == pytest.approx(expected)
    assert "contamination_share" not in found.numbers  # nobody looked for it
    shown = [row for row in found.rows if row.kept_for == "duplicate_share"]
    assert [(row.id, row.preview) for row in shown] == [("d7", "kept\\nonce more")]


def test_placeholders_are_nobodys_and_what_is_not_looked_for_is_not_counted() -> None:
    found = {"pii:email": 4, "pii:phone": 3}
    left = Counted(rows=10, found_rows=found).numbers()
    assert left["pii_share"] == 0.7  # at most: who has both is counted twice where nobody counted rows
    replaced = Counted(rows=10, found_rows=found, replaced=True).numbers()
    assert (replaced["pii_share"], replaced["pii_email_found_share"]) == (0, 0.4)
    assert "pii_share" not in Counted(rows=10, personal=False).numbers()


def test_counts_of_parts_add_up_and_keep_the_first_examples() -> None:
    def part(name: str) -> Counted:
        shown = tuple(Example("empty", f"{name}{n}", "", n, "", "") for n in range(2))
        return Counted(rows=5, rejected={"empty": 2}, found={"html": 3}, found_rows={"html": 1}, examples=shown)

    whole = total([part("a"), part("b")])
    assert (whole.rows, whole.kept, whole.rejected, whole.found, whole.found_rows) == (
        10,
        6,
        {"empty": 4},
        {"html": 6},
        {"html": 2},
    )
    assert [example.id for example in whole.examples] == ["a0", "a1", "b0"]


def test_labels_answers_and_pairs_are_counted_beside_the_text() -> None:
    profiler = Profiler()
    for n, document in enumerate(texts("q one", "q two", "q three", "q four")):
        profiler.add(document, label="ham" if n else "spam", answer="x" * 10 * n, rejected="y" * 15)
    found = profiler.result()
    expected = {
        "labels": 2,
        "label_rows": 1,
        "largest_label_share": 0.75,
        "mean_answer_bytes": 15,
        "longest_answer_bytes": 30,
        "length_ratio": 1,
    }
    assert {name: found.numbers[name] for name in expected} == expected
    assert found.shares["labels"] == {"ham": 0.75, "spam": 0.25}
    assert set(found.histograms) == {"bytes", "chosen_bytes", "rejected_bytes"}
    assert next(row.id for row in found.rows if row.kept_for == "longest_answer_bytes") == "f:4"


def test_the_language_mix_is_that_of_the_sample() -> None:
    german = "Der Hafen lag still, als die Boote mit der Flut hereinkamen, und niemand hatte es eilig an diesem Abend. "
    profiler = Profiler()
    for document in texts(*(f"{n} {german if n % 4 == 0 else WORDS}" for n in range(40))):
        profiler.add(document)
    found = profiler.result(Counted(rows=40))
    assert found.shares["languages"] == {"en": 0.75, "de": 0.25}
    assert found.numbers["main_language_share"] == 0.75
    document = json.loads(json.dumps(found.document()))
    assert set(document) == {"numbers", "histograms", "shares"}
