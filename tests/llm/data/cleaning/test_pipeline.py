"""A document through all steps: kept or turned away for one reason, its findings placed in the text as it was read."""

import pickle
from dataclasses import replace
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.store.errors import InputError
from llm.data.cleaning.config import CleaningConfig, QualityRules
from llm.data.cleaning.contamination import NgramIndex
from llm.data.cleaning.pipeline import Cleaned, Cleaner
from llm.data.rows import Finding

SPEECH = "ROMEO: I do protest, I never injured thee, But love thee better than thou canst devise."
DEFAULTS = CleaningConfig()


@pytest.fixture(scope="module")
def cleaner() -> Cleaner:
    index = NgramIndex.build({"mmlu": ["Which planet has the Great Red Spot?"]})
    return Cleaner(DEFAULTS, contamination=index, main_language="en")


@pytest.mark.parametrize(
    ("text", "reason", "detail"),
    [
        ("", "empty", ""),
        (" \n\t\xa0\u200b", "empty", ""),
        ("<p><br/></p> <!-- nothing -->", "empty", "nothing is left without markup"),
        ("half \ud83d", "lone-surrogate", "half of a character that takes two"),
        ("ANGELO:", "too-short", "7 bytes, at least 16"),
        ("click here to subscribe", "boilerplate", "nothing but what a page leaves behind"),
        ("<b>404</b> Not Found<br/>", "boilerplate", "nothing but what a page leaves behind"),
        ("<&+_/|>%" * 20, "symbol-noise", "symbols among the characters: 1, at most 0.8"),
        ("PETER: Anon! " * 50, "repetitive", "max_top_2_gram: 0.923, at most 0.6"),
        ("Dies ist ein kurzer Beispieltext für Prüfungen.", "other-language", "de, not en"),
        (f"{SPEECH} Which planet has the great red spot? Jupiter.", "contamination", "mmlu: words 17 to 23"),
    ],
)
def test_what_is_turned_away_has_its_reason_and_rule(cleaner: Cleaner, text: str, reason: str, detail: str) -> None:
    cleaned = cleaner.clean(text)
    assert (cleaned.reason, cleaned.detail) == (reason, detail)


def test_a_clean_document_comes_back_as_it_was(cleaner: Cleaner) -> None:
    assert cleaner.clean(SPEECH) == Cleaned(SPEECH)
    assert cleaner.clean(SPEECH).text is SPEECH


def test_findings_are_placed_in_the_text_as_it_was_read(cleaner: Cleaner) -> None:
    text = f"\ufeffCafÃ© <b>{SPEECH}</b>\r\nWrite to cy@example.com\x00 or +1 202-555-0193<br/>"
    cleaned = cleaner.clean(text)
    assert cleaned.text == f"Café {SPEECH}\nWrite to cy@example.com or +1 202-555-0193"
    assert [(finding.kind, text[finding.start : finding.end]) for finding in cleaned.findings] == [
        ("zero-width", "\ufeff"),
        ("mojibake", "Ã©"),
        ("control-char", "\x00"),
        ("html", "<b>"),
        ("html", "</b>"),
        ("html", "<br/>"),
        ("pii:email", "cy@example.com"),
        ("pii:phone", "+1 202-555-0193"),
    ]


def test_what_is_not_there_as_such_is_placed_in_the_whole_text(cleaner: Cleaner) -> None:
    text = f"{SPEECH} Write to cy&#64;example.com now."
    assert Finding("pii:email", 0, len(text)) in cleaner.clean(text).findings


def test_personal_data_is_counted_replaced_or_not_looked_for() -> None:
    text = f"{SPEECH} Contact Cy: cy@example.com, 4111 1111 1111 1111."
    kinds = ["pii:email", "pii:card"]
    for pii, changed, found in (
        ("count", text, kinds),
        ("replace", f"{SPEECH} Contact Cy: <EMAIL>, <CARD>.", kinds),
        ("ignore", text, []),
    ):
        cleaned = Cleaner(replace(DEFAULTS, pii=pii)).clean(text)  # type: ignore[arg-type]
        assert (cleaned.text, [finding.kind for finding in cleaned.findings]) == (changed, found)


def test_steps_can_be_left_out() -> None:
    text = "<p>Kept\u200b as it is, with its markup.</p>"
    kept = Cleaner(replace(DEFAULTS, repair=False, html="keep", boilerplate=False)).clean(text)
    assert kept == Cleaned(text)
    assert Cleaner(replace(DEFAULTS, boilerplate=False)).clean("click here to subscribe").reason == ""


def test_languages_are_kept_by_name_or_all_with_a_finding() -> None:
    german = "Dies ist ein kurzer Beispieltext für Prüfungen."
    assert Cleaner(DEFAULTS).clean(german) == Cleaned(german)  # no one language in the corpus: none is turned away
    assert Cleaner(replace(DEFAULTS, languages=("en", "de"))).clean(german) == Cleaned(german)
    assert Cleaner(replace(DEFAULTS, languages=("fr",))).clean(german).detail == "de, not fr"
    named = Cleaner(replace(DEFAULTS, languages=()), main_language="en").clean(german)
    assert named == Cleaned(german, findings=(Finding("other-language", 0, len(german)),))


def test_a_language_nobody_can_tell_is_refused_with_the_mend() -> None:
    with pytest.raises(InputError, match='"english" is no language that can be told apart') as refused:
        Cleaner(replace(DEFAULTS, languages=("english",)))
    assert "ISO 639" in refused.value.mend


def test_control_tokens_spelt_out_are_found(cleaner: Cleaner) -> None:
    text = f"{SPEECH} <|endoftext|> [INST] and states_<s>[0]"
    assert [text[finding.start : finding.end] for finding in cleaner.clean(text).findings] == ["<|endoftext|>", "[INST]"]


def test_c4_takes_lines_out_of_what_is_kept() -> None:
    rules = replace(DEFAULTS, quality=replace(QualityRules(), c4_lines=True))
    assert Cleaner(rules).clean(f"Home | About\n{SPEECH}\nShare").text == SPEECH
    assert Cleaner(rules).clean("Home | About\nShare it with us").detail == "c4_lines: no line is left"


def test_a_cleaner_does_the_same_in_another_process(cleaner: Cleaner) -> None:
    other = pickle.loads(pickle.dumps(cleaner))
    for text in (SPEECH, "ANGELO:", f"{SPEECH} Which planet has the great red spot?", "Dies ist ein kurzer Beispieltext."):
        assert other.clean(text) == cleaner.clean(text)


@given(st.text(alphabet=st.characters()))
def test_no_text_makes_it_fail(text: str) -> None:
    cleaned = Cleaner(DEFAULTS, main_language="en").clean(text)
    assert all(0 <= finding.start < finding.end <= len(text) for finding in cleaned.findings)
    assert cleaned == Cleaner(DEFAULTS, main_language="en").clean(text)


@pytest.mark.parametrize(
    "piece",
    [
        "<!-- x ",
        "<script>",
        '<a b="',
        "&amp;",
        "`<b>x</b>` ",
        "a@",
        "1 2 ",
        "a::1 ",
        "x" * 9 + "1",
        "\x1b[",
        "Ã© x\n",
        "a\u200b",
        "\n ",
        "```\n",
    ],
)
def test_no_document_takes_longer_than_its_length_explains(piece: str) -> None:
    """A hundred thousand characters of what patterns stumble over; each takes a fifth of a second or less, and not minutes."""
    cleaner, text = Cleaner(replace(DEFAULTS, pii="replace")), piece * (100_000 // len(piece))
    began = process_time()
    cleaner.clean(text)
    assert process_time() - began < 5
