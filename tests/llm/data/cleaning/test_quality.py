"""Each rule turns away what it is meant for, names itself and its limit, and the gentle defaults let ordinary text pass."""

from dataclasses import replace
from pathlib import Path

import pytest

from llm.data.cleaning.config import GOPHER_C4_FINEWEB, QualityRules
from llm.data.cleaning.quality import c4_lines, low_quality, symbol_noise, too_short
from llm.data.cleaning.split import Split, Vocabulary
from llm.data.stdlib import documentation

DEFAULTS = QualityRules()
NONE = QualityRules(
    min_bytes=0, min_words=0, min_mean_word=0, max_mean_word=1e9, max_symbols=1, max_symbol_ratio=1e9, min_lettered_words=0
)
PROSE = "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a wife."


def split(text: str) -> Split:
    return Split(text, Vocabulary())


def verdict(text: str, rules: QualityRules) -> tuple[str, str] | None:
    part = split(text)
    found = too_short(part, rules) or symbol_noise(part, rules) or low_quality(part, rules)
    return (found.reason, found.detail) if found else None


@pytest.mark.parametrize(
    ("text", "rules", "reason", "detail"),
    [
        ("Lord: Take h", DEFAULTS, "too-short", "12 bytes, at least 16"),
        ("supercalifragilistic", DEFAULTS, "too-short", "1 words, at least 2"),
        ("|++&%+=%**/#|$<<_>%+^>|&_~_%*&", DEFAULTS, "symbol-noise", "symbols among the characters: 1, at most 0.8"),
        ("# one # two # three # # # # #", DEFAULTS, "symbol-noise", "number signs for each word: 0.727, at most 0.5"),
        ("10 20 30 40 50 60 70 80 90 100", DEFAULTS, "low-quality", "min_lettered_words: 0, at least 0.1"),
        ("a b c d e f g h i j", DEFAULTS, "low-quality", "min_mean_word: 1, at least 1.5"),
        (f"{'x' * 60} {'y' * 60}", DEFAULTS, "low-quality", "max_mean_word: 60, at most 40"),
        (PROSE, replace(NONE, min_words=50), "too-short", "23 words, at least 50"),
        (PROSE, replace(NONE, max_words=20), "low-quality", "max_words: 23, at most 20"),
        (PROSE, replace(NONE, min_stop_words=5), "low-quality", "min_stop_words: 3, at least 5"),
        ("- one\n- two\n• three\nfour", replace(NONE, max_bullet_lines=0.7), "low-quality", "max_bullet_lines: 0.75, at most 0.7"),
        ("one...\ntwo…\nthree", replace(NONE, max_ellipsis_lines=0.3), "low-quality", "max_ellipsis_lines: 0.667, at most 0.3"),
        ("short\nlines\n" + PROSE, replace(NONE, max_short_lines=0.5), "low-quality", "max_short_lines: 0.667, at most 0.5"),
        ("a\n\n\nb", replace(NONE, max_newline_ratio=0.3), "low-quality", "max_newline_ratio: 1.5, at most 0.3"),
        ("no end\nnone", replace(NONE, min_punctuated_lines=0.12), "low-quality", "min_punctuated_lines: 0, at least 0.12"),
        ("One. Two! Three?", replace(NONE, min_sentences=5), "low-quality", "min_sentences: 3, at least 5"),
        ("int main() { }", replace(NONE, curly_brackets=False), "low-quality", "curly_brackets: it has one"),
        ("Lorem ipsum dolor", replace(NONE, lorem_ipsum=False), "low-quality", "lorem_ipsum: it has this filler"),
    ],
)
def test_a_rule_names_itself_what_it_found_and_what_it_allows(text: str, rules: QualityRules, reason: str, detail: str) -> None:
    rules = replace(rules, max_symbol_ratio=0.5) if "number signs" in detail else rules
    assert verdict(text, rules) == (reason, detail)


@pytest.mark.parametrize(
    "text",
    [
        "ROMEO: Is the day so young?",
        "Return self+value.",
        "See you there at 8!",
        "for i in range(10):\n    print(i, {i: i * i}[i])",
        "| a | b |\n| --- | --- |\n| 1 | two |",
        "这是一个用于测试的简短示例文本。",
        "これは短いテスト用の文章です。",
        "هذا نص قصير للاختبار.",
        "The sum is $\\sum_{i=1}^{n} x_i^2 = \\frac{1}{2}$ for all n.",
    ],
)
def test_short_texts_of_many_kinds_pass_by_default(text: str) -> None:
    assert verdict(text, DEFAULTS) is None


def test_the_standard_librarys_documentation_passes_by_default() -> None:
    assert [name for name, _, text in documentation() if verdict(text, DEFAULTS)] == []


def test_books_pass_the_published_limits(data_folder: Path) -> None:
    text = (data_folder / "the-verdict" / "the-verdict.txt").read_text()
    assert verdict(c4_lines(text), GOPHER_C4_FINEWEB) is None


def test_c4_takes_out_lines_and_keeps_the_order_of_the_others() -> None:
    text = "\n".join(
        [
            "A first line that ends well.",
            "Home | About | Contact",
            "Read it.",
            "And then it went on and on...",
            "Please enable Javascript to go on.",
            "We have a privacy policy that you may read.",
            f"A word of {'x' * 1001} is none.",
            "It was so.[12][citation needed]",
            '"Was it?" she asked, "Or not?"',
        ]
    )
    assert c4_lines(text) == 'A first line that ends well.\nIt was so.\n"Was it?" she asked, "Or not?"'
