"""HTML out of a text: markup and what is not shown taken out, entities decoded, block ends made into line ends.

Only where a text looks like HTML. One that speaks of HTML, compares `a < b` or is code is left as it is.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from html import unescape
from html.entities import html5
from typing import Final

from selectolax.lexbor import LexborHTMLParser

from llm.data.cleaning.spans import Spans
from llm.data.rows import Finding

# fmt: off
_BLOCKS: Final = frozenset((
    "address", "article", "aside", "blockquote", "br", "canvas", "caption", "center", "dd", "details", "dialog", "div", "dl",
    "dt", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "legend",
    "li", "main", "menu", "nav", "ol", "optgroup", "option", "p", "pre", "section", "summary", "table", "tbody", "tfoot",
    "thead", "tr", "ul",
))
_INLINE: Final = frozenset((
    "abbr", "acronym", "area", "audio", "bdi", "bdo", "big", "col", "colgroup", "del", "dfn", "em", "embed", "font", "iframe",
    "img", "ins", "kbd", "mark", "param", "rp", "rt", "ruby", "samp", "small", "source", "span", "strike", "strong", "sub",
    "sup", "td", "th", "track", "tt", "video", "wbr",
))
# Between angle brackets these may also be the names of things: <body>, <input>. They count where they have attributes or an end.
_AMBIGUOUS: Final = frozenset((
    "a", "address", "area", "article", "audio", "b", "base", "big", "body", "button", "canvas", "caption", "center", "cite",
    "code", "col", "data", "details", "dialog", "em", "fieldset", "figure", "font", "footer", "form", "frame", "frameset",
    "head", "header", "html", "i", "input", "label", "legend", "link", "main", "map", "mark", "menu", "meta", "meter", "nav",
    "noscript", "object", "option", "output", "param", "picture", "progress", "q", "s", "script", "section", "select", "slot",
    "small", "source", "strong", "style", "summary", "svg", "table", "template", "textarea", "time", "title", "track", "u",
    "var", "video",
))
# fmt: on
_NAMES: Final = _BLOCKS | _INLINE | _AMBIGUOUS

_MARKUP: Final = re.compile(
    r"""(?P<comment> <!-- )
    | (?P<declared> <!doctype\b[^<>]*> | <\?xml\b[^<>]*> | <!\[CDATA\[ | \]\]> )
    | <(?P<end>/?)(?P<name>[a-z][a-z0-9]*)
        (?P<attributes> (?: \s+[a-z@:*\#_][\w:.@-]* (?: \s*=\s* (?: "[^"]*" | '[^']*' | [^\s"'<>=`]+ ) )? )*)\s*/?>
    | (?P<entity> &(?: \#[0-9]{1,7} | \#x[0-9a-f]{1,6} | [a-z][a-z0-9]{1,31} ); )""",
    re.VERBOSE | re.IGNORECASE,
)
_COMMENT_END: Final = re.compile("-->")
_UNSEEN_ENDS: Final = {
    name: re.compile(rf"</{name}\s*>", re.IGNORECASE)
    for name in ("script", "style", "noscript", "template", "textarea", "iframe", "svg", "title")
}
"""Elements of which nothing is shown, or nothing that belongs to the text."""
_ABOUT: Final = re.compile(r"\b(?:x?html\d?|xml|sgml|markup|unescape|character references?|entity references?)\b", re.IGNORECASE)
_PAGE: Final = re.compile(
    r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL
)
_FENCED: Final = re.compile(r"^(```+|~~~+).*?^\1|`[^`\n]+`", re.DOTALL | re.MULTILINE)  # code in Markdown
_CODE_LINE: Final = re.compile(
    r"""[;{}(\[:=\\]$ | [)\]}'"],?$ | \ [=!+]=?\  | \w\(\) | \w\.\w+\( | -> | => | :: | && | \|\|
    | ^(?:>>>|\.\.\.|\#include|import\ |from\ |def\ |class\ |return\b|if\ \(|for\ \(|//|/\*|@\w+|\$\ )""",
    re.VERBOSE,
)
_CODE: Final = 0.5  # of the lines outside of markup and fences: program text has 0.57 and more, prose with code in it 0.4 and less
_FEWEST_LINES = 4
_GONE, _END = "\ufdd0", "\ufdd1"  # where something was taken out, and where a block began or ended; no text holds these
_TAKEN: Final = re.compile(f"[ \t]*{_GONE}[ \t{_GONE}]*")
_ENDS: Final = re.compile(f"[ \t\n]*{_END}[ \t\n{_END}]*")
_QUOTES: Final = "\"'`“”‘’"
_LEFT_ASIDE: Final = (
    "nav, footer, aside, form, button, select, dialog, script, style, noscript, template, iframe, svg, head, "
    "[hidden], [aria-hidden=true], [role=navigation], [role=banner], [role=contentinfo], [role=dialog], [role=alert]"
)


def strip_html(text: str) -> tuple[str, list[Finding]]:
    """The text without its markup, and where the markup was; the text as it is and nothing where it is not HTML."""
    if "<" not in text and "&" not in text:
        return text, []
    findings = find_html(text)
    if not findings:
        return text, []
    if _PAGE.match(text):
        return _page(text), findings
    stripped = _without_markup(text)
    if not _ABOUT.search(text):  # what was escaped twice, as in &amp;amp;
        stripped = _without_markup(stripped)
    return stripped, findings


def find_html(text: str) -> list[Finding]:
    """Where the markup is, pieces side by side as one; nothing where the text is not HTML."""
    tokens = _tokens(text)
    if not tokens or not (_PAGE.match(text) or _is_markup(text, tokens)):
        return []
    findings: list[Finding] = []
    for token in tokens:
        if findings and not text[findings[-1].end : token.start].strip():
            findings[-1] = Finding("html", findings[-1].start, token.end)
        else:
            findings.append(Finding("html", token.start, token.end))
    return findings


@dataclass(frozen=True)
class _Token:
    """A tag by its name in lower case, or with an empty name a comment, a declaration or an entity.

    An element that is not shown is one token from its first tag to its last.
    """

    start: int
    end: int
    name: str
    entity: str
    closes: bool
    has_values: bool


def _tokens(text: str) -> list[_Token]:
    """Tags of HTML's own names, comments and entities, but for those in quotation marks or in Markdown's code."""
    if "<" not in text and "&" not in text:
        return []
    code = Spans(found.span() for found in _FENCED.finditer(text)) if "`" in text or "~~~" in text else ()
    tokens, place = list[_Token](), 0
    unended = set[re.Pattern[str]]()  # of these no end was found: nor will one be, further on
    while found := _MARKUP.search(text, place):
        place, name = found.end(), (found["name"] or "").lower()
        if found["comment"] or (name in _UNSEEN_ENDS and not found["end"] and not found[0].endswith("/>")):
            ending = _COMMENT_END if found["comment"] else _UNSEEN_ENDS[name]
            last = None if ending in unended else ending.search(text, place)
            if last:
                place = last.end()
            else:
                unended.add(ending)
                if found["comment"]:
                    continue
        token = _Token(found.start(), place, name, found["entity"] or "", bool(found["end"]), "=" in (found["attributes"] or ""))
        if _is_html(token) and not _is_quoted(text, token) and token.start not in code:
            tokens.append(token)
    return tokens


def _is_html(token: _Token) -> bool:
    if token.entity:
        return token.entity[1] == "#" or token.entity[1:] in html5
    return not token.name or token.name in _NAMES


def _is_quoted(text: str, token: _Token) -> bool:
    before, after = text[token.start - 1 : token.start], text[token.end : token.end + 1]
    return before != "" and after != "" and before in _QUOTES and after in _QUOTES


def _is_markup(text: str, tokens: list[_Token]) -> bool:
    closed = {token.name for token in tokens if token.closes}
    if not any(_is_sure(token, closed) for token in tokens):
        return False
    outside = _without(text, tokens, lambda token: " ")
    outside = _FENCED.sub("", outside) if "`" in text or "~~~" in text else outside
    lines = [line for line in map(str.strip, outside.split("\n")) if line]
    if len(lines) >= _FEWEST_LINES and sum(1 for line in lines if _CODE_LINE.search(line)) > _CODE * len(lines):
        return False
    if _ABOUT.search(outside):
        return sum(1 for token in tokens if token.closes and token.name in _BLOCKS) >= 2
    return True


def _is_sure(token: _Token, closed: set[str]) -> bool:
    if token.name not in _AMBIGUOUS or token.closes or token.has_values:
        return True
    return token.name in closed or (token.name in _UNSEEN_ENDS and token.end - token.start > len(f"<{token.name}></{token.name}>"))


def _page(text: str) -> str:
    tree = LexborHTMLParser(text)
    for node in tree.css(_LEFT_ASIDE):
        node.decompose()
    body = tree.body
    shown = body.html if body is not None else None
    if not shown:
        return ""
    if "<pre" not in shown:
        shown = re.sub(r"\s+", " ", shown)
    return _without_markup(shown)


def _without_markup(text: str) -> str:
    tokens = _tokens(text)
    if not tokens:
        return text
    text = _without(text, tokens, _instead)
    text = _TAKEN.sub(lambda found: " " if found[0].strip(_GONE) else "", text)
    return _ENDS.sub(lambda found: "\n\n" if found[0].count("\n") > 1 else "\n", text).strip()


def _without(text: str, tokens: list[_Token], instead: Callable[[_Token], str]) -> str:
    parts, end = list[str](), 0
    for token in tokens:
        parts += [text[end : token.start], instead(token)]
        end = token.end
    return "".join([*parts, text[end:]])


def _instead(token: _Token) -> str:
    if token.entity:
        return unescape(token.entity).replace("\xa0", f"{_GONE} ")
    if token.name in _BLOCKS:
        return _END
    return f"{_GONE} " if token.name in ("td", "th") else _GONE
