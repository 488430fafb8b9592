"""What web pages leave behind: documents that are nothing else."""

import re
from typing import Final

_LONGEST: Final = 600  # characters; a longer document is never nothing but leavings
_TRIM: Final = " \t\n\r.!?:;,*#>|-–—=_~…\"'“”‘’«»→←›‹×•·"
_PARTED: Final = re.compile(r"\s*[|·•»/]\s*|(?<=[.!?])\s+")  # a menu, or several sentences

_FAULT: Final = (
    r"(?:not\s+found|forbidden|unauthori[sz]ed|bad\s+request|gone|internal\s+server\s+error|bad\s+gateway|gateway\s+time-?out"
    r"|service\s+(?:temporarily\s+)?unavailable|too\s+many\s+requests|method\s+not\s+allowed|request\s+time-?out|moved\s+permanently|found)"
)
_NOTHING: Final = r"(?:comments?|description|results?|answer|abstract|reviews?|text|content|input|data|title|output)"
_SHARERS: Final = (
    r"(?:facebook|twitter|x|instagram|linkedin|pinterest|whatsapp|youtube|reddit|e-?mail|page|article|post|story|newsletter)"
)
_NONSENSE: Final = r"(?:foo|bar|baz|qux|asdf\w*|qwerty|abc|blah|bla)"

# Whole lines in lower case, without the punctuation around them. Written from what crawls are known to hold.
_LEAVINGS: Final = (
    # errors of servers and pages
    rf"(?:error\s*)?:?\s*[45]\d\d\s*(?:error)?\s*[-:|–—]?\s*(?:page\s+|file\s+)?{_FAULT}?",
    r"(?:error|http\s+error|http|status)\s*[45]\d\d\b.{0,60}",
    r"(?:404\s*)?(?:page|file|site|url|document|article)?\s*(?:could\s+)?not\s+(?:be\s+)?found",
    rf"{_FAULT}|access\s+denied|permission\s+denied|it\s+works|coming\s+soon|index\s+of\s+/\S*|hello,?\s+world|just\s+a\s+moment",
    (
        r"(?:sorry,?\s+|oops,?!?\s+)?(?:the|this)\s+(?:requested\s+)?(?:page|file|url|video|content|item|site|product)\s+(?:you\s+.{0,40}\s)?"
        r"(?:was|is|could|can|has|does|cannot)\b.{0,60}\b(?:found|available|unavailable|exist|removed|deleted|moved|construction|loaded)"
    ),
    r"(?:the\s+|this\s+)?(?:site|page|website)?\s*(?:is\s+)?under\s+construction|(?:you\s+are\s+being\s+)?redirect(?:ing|ed).{0,40}",
    r"an?\s+(?:unexpected\s+)?error\s+(?:has\s+)?occurred.{0,60}|something\s+went\s+wrong.{0,60}|(?:now\s+)?loading",
    r"please\s+(?:try\s+again|wait|stand\s+by).{0,40}|checking\s+your\s+browser.{0,60}",
    r"verify(?:ing)?\s+(?:that\s+)?you\s+are\s+(?:a\s+)?human.{0,60}|this\s+page\s+(?:is\s+)?(?:intentionally\s+)?left\s+blank",
    # calls to do something
    r"(?:please\s+)?(?:click|tap|press)\s+(?:here|below|the\s+(?:link|button)\s*\w*|this\s+link)(?:\s+(?:to|for|and|if)\s+.{0,60})?",
    r"(?:to\s+)?(?:subscribe|sign\s+up|register|log\s+in|login|sign\s+in)(?:\s+(?:now|here|today|free|below|for|to|up|with|via|or)\b.{0,60})?",
    r"(?:read|learn|see|show|load|view|find\s+out)\s+(?:more|less|all|full\s+\w+)(?:\s+(?:about|of|on)\s+.{0,40}|\s*\w*)",
    r"continue\s+reading.{0,40}|(?:leave|post|write|add|view|\d+)\s+(?:a\s+|all\s+)?(?:comments?|repl(?:y|ies)|reviews?)",
    (
        r"(?:back|return|skip|jump|scroll|go)\s+to\s+(?:the\s+)?"
        r"(?:top|content|main|main\s+content|home|homepage|navigation|menu|previous\s+page)"
    ),
    (
        r"(?:share|like|follow|tweet|pin|print|email|save|join|find|contact|visit)\s+(?:us|this|it)?\s*"
        rf"(?:on|via|by|with|page|article|post|to)?\s*{_SHARERS}|share(?:\s+(?:this|on))?"
    ),
    r"tweet|pin\s+it|retweet|reblog|print|bookmark|download|menu|search|home|next|previous|prev|close|cancel|submit|send|ok|yes|no|reply",
    r"comments?|tags?|advertisement|sponsored|ads?|(?:home|about|contact|news|blog|faq|help|login|shop|products|services|search|\s)+",
    r"buy\s+now|add\s+to\s+(?:cart|basket|bag|wish\s*list)|order\s+now|shop\s+now|get\s+started|contact\s+us|about\s+us",
    r"(?:enter|type)\s+your\s+(?:e-?mail|name).{0,40}|unsubscribe.{0,60}|subscribe\s+(?:to|for)?.{0,60}",
    r"(?:join|get)\s+our\s+(?:newsletter|mailing\s+list).{0,40}|forgot(?:ten)?\s+(?:your\s+)?password|create\s+an?\s+account",
    # notices
    r"(?:this|our|the)\s+(?:web\s*)?(?:site|page)\s+(?:uses|use|requires|may\s+use)\s+(?:cookies|javascript).{0,200}",
    r"we\s+(?:and\s+our\s+partners\s+)?use\s+(?:\w+\s+){0,3}cookies.{0,200}|cookie\s+(?:policy|settings|notice|preferences|consent)",
    r"by\s+(?:continuing|using|clicking|visiting).{0,120}(?:cookies|terms|policy|privacy).{0,80}",
    r"(?:accept|reject|manage|allow|decline)(?:\s+all)?\s+(?:cookies|preferences|settings)",
    r"(?:please\s+)?(?:enable|turn\s+on|activate|you\s+need\s+to\s+enable)\s+(?:javascript|cookies).{0,100}",
    r"(?:javascript|cookies?)\s+(?:is|are|must|needs?)\b.{0,80}|your\s+browser\s+(?:does\s+not|doesn't|is).{0,80}",
    r"privacy\s+policy|terms(?:\s+of\s+(?:use|service)|\s+and\s+conditions|\s+&\s+conditions)?|privacy|legal(?:\s+notice)?|disclaimer",
    r"imprint|site\s*map|accessibility|all\s+rights\s+reserved.{0,60}|powered\s+by\s+.{0,40}",
    r"(?:copyright\s*)?(?:©|\(c\)|copyright)\s*(?:\(c\)|©)?\s*(?:\d{4})?.{0,80}",
    # fillers
    r"\W*(?:deleted|removed|redacted)(?:\s+by\s+\w+)?\W*|\W*(?:edited|blank|empty|empty\s+post|media\s+omitted|unknown|citation\s+needed)\W*",
    r"\W*(?:image|photo|video|audio|gif|attachment|untitled(?:\s+document)?|placeholder|missing|hidden|censored|insert\s+.{1,30}\s+here)\W*",
    r"\W*(?:n\s*/?\s*a|none|null|nil|nan|undefined|tbd|tba|tbc|todo|fixme|xxx+|not\s+(?:applicable|available|specified|provided))\W*",
    rf"\W*no\s*{_NOTHING}(?:\s+(?:yet|available|found|given|provided))?\W*",
    (
        r"(?:this\s+)?(?:comment|post|message|account|user|tweet|video|content)\s+(?:(?:was|has\s+been|is|were)\s+)?"
        r"(?:deleted|removed|hidden|suspended|unavailable|private|blocked).{0,40}"
    ),
    (
        r"(?:this\s+is\s+(?:just\s+|only\s+)?an?\s+)?test(?:ing)?(?:\s+(?:test(?:ing)?|message|post|page|document|text|only|please\s+ignore"
        r"|\d{1,3}|one|two|three))*"
    ),
    rf"{_NONSENSE}(?:[\s,]+{_NONSENSE})*|(?:sample|example|dummy)\s+text|(?:your\s+)?text\s+(?:goes\s+)?here",
    r".{0,40}\blorem\s+ipsum\b.*",
    r".{0,40}\b(?:dolor\s+sit\s+amet|consectetur\s+adipisc?ing|sed\s+do\s+eiusmod|incididunt\s+ut\s+labore)\b.*",
)
_LEAVING: Final = re.compile("|".join(f"(?:{leaving})" for leaving in _LEAVINGS))


def is_boilerplate(text: str) -> bool:
    """Whether every line of a short document is a page's leaving: an error, a call to click, a notice, a filler."""
    if len(text) > _LONGEST:
        return False
    lines = [line for line in (line.strip().lower() for line in text.split("\n")) if line.strip(_TRIM)]
    return bool(lines) and all(map(_is_leaving, lines))


def _is_leaving(line: str) -> bool:
    if _LEAVING.fullmatch(line) or _LEAVING.fullmatch(line.strip(_TRIM)):
        return True
    parts = [part.strip(_TRIM) for part in _PARTED.split(line) if part.strip(_TRIM)]
    return len(parts) > 1 and all(map(_LEAVING.fullmatch, parts))
