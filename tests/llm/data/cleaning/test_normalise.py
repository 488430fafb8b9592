"""What nobody sees and what was decoded wrongly is mended, and said with its place in the text as it was read."""

import unicodedata
from pathlib import Path

import ftfy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.data.cleaning.characters import Counts, Kind
from llm.data.cleaning.normalise import normalise


def normalised(text: str) -> tuple[str, list[tuple[str, str]]]:
    repaired, findings = normalise(text, Counts(text))
    return repaired, [(finding.kind, text[finding.start : finding.end]) for finding in findings]


@pytest.mark.parametrize(
    ("text", "repaired", "found"),
    [
        ("a\x1b[31mred\x1b[0m b", "ared b", [("control-char", "\x1b[31m"), ("control-char", "\x1b[0m")]),
        ("\x1b]0;title\x07text", "text", [("control-char", "\x1b]0;title\x07")]),
        ("\x8bquoted\x9b\x81", "‹quoted›", [("control-char", "\x8b"), ("control-char", "\x9b\x81")]),
        ("N\x08NA\x08AME", "NAME", [("control-char", "N\x08"), ("control-char", "A\x08")]),
        ("one\x00\x00two\x7f", "onetwo", [("control-char", "\x00\x00"), ("control-char", "\x7f")]),
        ("one\x0btwo", "one\ntwo", [("control-char", "\x0b")]),
        ("that\x92s it", "that’s it", [("control-char", "\x92")]),
        ("zero\u200bwidth\ufeff", "zerowidth", [("zero-width", "\u200b"), ("zero-width", "\ufeff")]),
        ("soft\u00adhyphen word\u2060joiner", "softhyphen wordjoiner", [("zero-width", "\u00ad"), ("zero-width", "\u2060")]),
        ("joined\u200dletters", "joinedletters", [("zero-width", "\u200d")]),
        (
            "\u202etxet\u202c \u2066x\u2069",
            "txet x",
            [("bidi-override", mark) for mark in ("\u202e", "\u202c", "\u2066", "\u2069")],
        ),
        ("tag\U000e0041\U000e0042s", "tags", [("zero-width", "\U000e0041\U000e0042")]),
    ],
)
def test_characters_that_show_nothing_are_taken_out_and_said(text: str, repaired: str, found: list[tuple[str, str]]) -> None:
    assert normalised(text) == (repaired, found)


@pytest.mark.parametrize(
    "text",
    ["می\u200cخواهم", "क्\u200dष", "👩\u200d💻 at work", "tab\tand\nline\x0cpage", "“quoted”—naïve façade £85", "Это пример."],
)
def test_what_belongs_to_a_text_is_left_in_it(text: str) -> None:
    assert normalised(text) == (text, [])


def test_line_ends_of_other_systems_become_line_feeds_without_a_word() -> None:
    assert normalised("a\r\nb\rc\u2028d") == ("a\nb\nc\nd", [])
    assert normalised("a\r\nb\x00\rc") == ("a\nb\nc", [("control-char", "\x00")])


def test_letters_put_together_of_two_characters_become_one() -> None:
    assert normalised("cafe\u0301") == ("café", [])


@pytest.mark.parametrize(
    ("text", "repaired", "broken"),
    [
        ("naÃ¯ve faÃ§ade Â£1", "naïve façade £1", "Ã¯ve faÃ§ade Â"),
        ("â€œquoteâ€\x9d itâ€™s", "“quote” it’s", "â€œquoteâ€\x9d itâ€™"),
        ("РџСЂРёРІРµС‚", "Привет", "РџСЂРёРІРµС‚"),
        ("dÃ©jÃ  vu", "déjà vu", "Ã©jÃ "),
    ],
)
def test_text_decoded_wrongly_is_read_as_it_was_meant(text: str, repaired: str, broken: str) -> None:
    assert normalised(text) == (repaired, [("mojibake", broken)])


def test_one_broken_line_leaves_the_others_alone() -> None:
    assert normalised("Ærø fjord\nMÃ¨re\nÜber") == ("Ærø fjord\nMère\nÜber", [("mojibake", "Ã¨")])


def test_the_quick_look_misses_no_line_that_ftfy_would_mend(data_folder: Path) -> None:
    for line in (data_folder / "messy-synthetic" / "mojibake.txt").read_text().splitlines():
        assert normalised(line)[0] == ftfy.fix_encoding(line)


@given(st.text())
def test_whatever_a_text_holds_its_findings_lie_in_it_and_nothing_unseen_is_left(text: str) -> None:
    text = text.encode("utf-8", "ignore").decode()
    repaired, findings = normalise(text, Counts(text))
    assert all(0 <= finding.start < finding.end <= len(text) for finding in findings)
    assert unicodedata.is_normalized("NFC", repaired)
    counts = Counts(repaired)
    assert not any(counts[kind] for kind in (Kind.ZERO_WIDTH, Kind.BIDI, Kind.RETURN))
    assert normalise(text, Counts(text)) == (repaired, findings)


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_every_character_is_counted_as_what_it_is(text: str) -> None:
    counts = Counts(text)
    assert sum(counts[kind] for kind in Kind) == len(text) == counts.length
    assert counts[Kind.LETTER] + counts[Kind.DIGIT] == sum(
        unicodedata.category(each)[0] in "LMN" for each in text if ord(each) < 0x20000
    ) + sum(0x20000 <= ord(each) < 0x40000 for each in text)
