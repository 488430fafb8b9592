"""Markup goes, text stays; a text that only speaks of markup, compares numbers or is code is not touched."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from llm.data.cleaning.html import find_html, strip_html
from llm.data.stdlib import documentation


@pytest.mark.parametrize(
    ("text", "stripped"),
    [
        ("<p>Hello <i>there</i></p>", "Hello there"),
        ("one<br/>two<br>three", "one\ntwo\nthree"),
        ("kept <!-- a comment --> text", "kept text"),
        ("kept <style>p{color:red}</style> text<script>var a=1 < 2;</script>", "kept text"),
        ('see <a href="http://example.com/p?id=7">this link</a>.', "see this link."),
        ("Tom &amp; Jerry &lt;3 &eacute;t&eacute; &#8212; &nbsp;x", "Tom & Jerry <3 été —  x".replace("  ", " ")),
        ("twice &amp;amp; &lt;b&gt;escaped&lt;/b&gt;", "twice & escaped"),
        ("<ul><li>one</li>\n<li>two</li></ul>", "one\ntwo"),
        ('<div class="x">a <span data-x="1 > 0">b</span></div>', "a b"),
        ("<H1>TITLE</H1>\n\n<P ALIGN=center>text</P>", "TITLE\n\ntext"),
        ("<![CDATA[raw]]> and <?xml version='1.0'?> gone", "raw and gone"),
    ],
)
def test_markup_goes_and_its_text_stays(text: str, stripped: str) -> None:
    found, findings = strip_html(text)
    assert found == stripped
    assert findings
    assert {finding.kind for finding in findings} == {"html"}


@pytest.mark.parametrize(
    "text",
    [
        "if a < b and c > d: swap(a, b)",
        "List<String> names; Map<Code, Input> codes; vector<int> v;",
        "usage: convert <input> <output> [<title>]",
        "SELECT * FROM `<catalog>.<schema>.<table>`",
        "write to <john@example.com> or see <https://example.com>",
        'The "<p>" tag of HTML begins a paragraph, and "<br>" ends a line.',
        "Convert character references (e.g. &gt;, &#62;) to the corresponding characters.",
        "A Markdown text.\n\n```html\n<p>An example</p>\n```\n\nAnd `<br>` in a line.",
        "AT&T; R&D; x &notanentity; y",
        "def page(title):\n    body = f'<p>{title}</p>'\n    return '<html>' + body + '</html>'\n\nprint(page('x'))\n",
        "I <3 you",
        "",
    ],
)
def test_what_only_looks_like_html_is_left_alone(text: str) -> None:
    assert strip_html(text) == (text, [])


def test_the_standard_librarys_documentation_is_left_alone() -> None:
    assert [name for name, _, text in documentation() if strip_html(text)[0] is not text] == []


def test_a_page_gives_its_text_without_its_frame() -> None:
    page = """<!DOCTYPE html><html><head><title>Shop</title><style>p {}</style></head><body><nav>Home | About</nav>
    <h1>Of bees</h1><p>Bees make
    honey.</p><p>Wasps do not.</p><footer>All rights reserved</footer><script>track()</script></body></html>"""
    assert strip_html(page)[0] == "Of bees\nBees make honey.\nWasps do not."


def test_markup_side_by_side_is_one_finding_with_its_place() -> None:
    text = "one <p> <style>x</style> two<br/>"
    assert [text[finding.start : finding.end] for finding in find_html(text)] == ["<p> <style>x</style>", "<br/>"]


_TAGS = st.sampled_from(["<p>", "</p>", "<div class='a'>", "</div>", "<br/>", "<b>", "</b>", "<!-- c -->", "<li>", "<em>", "</em>"])
_WORDS = st.sampled_from(["one", "two & three", "4 < 5", "caf&eacute;", "&amp;", "end."])


@given(st.lists(st.one_of(_TAGS, _WORDS), min_size=1, max_size=30))
def test_the_words_are_those_that_a_browser_shows(parts: list[str]) -> None:
    text = "<p>" + " ".join(parts) + "</p>"
    shown = LexborHTMLParser(text).body
    assert shown is not None
    assert strip_html(text)[0].split() == re.sub(r"\s+", " ", shown.text(separator=" ")).split()


@given(st.text(alphabet="<>/!-&;pb =\"'\nax"))
def test_broken_markup_is_no_reason_to_fail(text: str) -> None:
    stripped, findings = strip_html(text)
    assert all(0 <= finding.start < finding.end <= len(text) for finding in findings)
    assert findings or stripped == text
