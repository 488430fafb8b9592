"""HTML out of a text: markup and what is not shown taken out, entities decoded, block ends made into line ends.

Only where a text looks like HTML. One that speaks of HTML, compares `a < b` or is code is left as it is.
"""

import re
from html import unescape
from html.entities import html5
from typing import Final

from selectolax.lexbor import LexborHTMLParser

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
    r"""(?P<unseen> <!--.*?-->
            | <(?P<raw>script|style|noscript|template|textarea|iframe|svg|title)\b[^<>]*(?<!/)>.*?</(?P=raw)\s*> )
    | (?P<declared> <!doctype\b[^>]*> | <\?xml\b[^>]*> | <!\[CDATA\[ | \]\]> )
    | <(?P<end>/?)(?P<name>[a-z][a-z0-9]*)
        (?P<attributes> (?: \s+[a-z@:*\#_][\w:.@-]* (?: \s*=\s* (?: "[^"]*" | '[^']*' | [^\s"'<>=`]+ ) )? )*)\s*/?>
    | (?P<entity> &(?: \#[0-9]{1,7} | \#x[0-9a-f]{1,6} | [a-z][a-z0-9]{1,31} ); )""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
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
        if findings and not text[findings[-1].end : token.start()].strip():
            findings[-1] = Finding("html", findings[-1].start, token.end())
        else:
            findings.append(Finding("html", token.start(), token.end()))
    return findings


def _tokens(text: str) -> list[re.Match[str]]:
    """Tags of HTML's own names, comments and entities, but for those in quotation marks or in Markdown's code."""
    if "<" not in text and "&" not in text:
        return []
    fences = [found.span() for found in _FENCED.finditer(text)] if "`" in text or "~~~" in text else []
    return [
        token
        for token in _MARKUP.finditer(text)
        if (not token["name"] or token["name"].lower() in _NAMES)
        and not (token["entity"] and token["entity"][1] != "#" and token["entity"][1:] not in html5)
        and not _is_quoted(text, token)
        and not any(start <= token.start() < end for start, end in fences)
    ]


def _is_quoted(text: str, token: re.Match[str]) -> bool:
    before, after = text[token.start() - 1 : token.start()], text[token.end() : token.end() + 1]
    return before != "" and after != "" and before in _QUOTES and after in _QUOTES


def _is_markup(text: str, tokens: list[re.Match[str]]) -> bool:
    ends = {token["name"].lower() for token in tokens if token["end"]}
    sure = [token for token in tokens if _is_sure(token, ends)]
    if not sure:
        return False
    outside = _MARKUP.sub(" ", _FENCED.sub("", text) if "`" in text or "~~~" in text else text)
    lines = [line for line in map(str.strip, outside.split("\n")) if line]
    if len(lines) >= _FEWEST_LINES and sum(1 for line in lines if _CODE_LINE.search(line)) > _CODE * len(lines):
        return False
    if _ABOUT.search(outside):
        return sum(1 for token in sure if token["end"] and token["name"].lower() in _BLOCKS) >= 2
    return True


def _is_sure(token: re.Match[str], ends: set[str]) -> bool:
    name = (token["name"] or "").lower()
    if name not in _AMBIGUOUS:
        return True
    if token["end"]:
        return True
    return "=" in token["attributes"] or name in ends


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
    kept = {token.start() for token in _tokens(text)}
    if not kept:
        return text
    text = _MARKUP.sub(lambda token: _instead(token) if token.start() in kept else token[0], text)
    text = _TAKEN.sub(lambda found: " " if found[0].strip(_GONE) else "", text)
    return _ENDS.sub(lambda found: "\n\n" if found[0].count("\n") > 1 else "\n", text).strip()


def _instead(token: re.Match[str]) -> str:
    if token["entity"]:
        return unescape(token["entity"]).replace("\xa0", f"{_GONE} ")
    if not token["name"]:
        return _GONE
    name = token["name"].lower()
    if name in _BLOCKS:
        return _END
    return f"{_GONE} " if name in ("td", "th") else _GONE
