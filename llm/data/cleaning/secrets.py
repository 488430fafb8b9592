"""Keys and passwords in a text: by the shapes their issuers give them, and by entropy where a word says what follows."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

_SHAPES: Final = re.compile(
    r"""(?<![A-Za-z0-9])(?:
      (?:sk|pk|rk)[-_](?:[A-Za-z]{2,12}[-_]){0,3}[A-Za-z0-9_-]{16,}  # OpenAI, Anthropic, Stripe
    | (?:AKIA|ASIA|AGPA|AIDA|AROA|ANPA)[A-Z0-9]{12,20}  # Amazon
    | (?:gh[pousr]|github_pat|glpat|gldt|hf|npm|pypi|dop_v1|doo_v1|shpat|shpss|lin_api|ntn|secret
      |r8|gsk|xai|nvapi|pplx|tvly|dapi|SG|sq0[a-z]{3})
      [-_.][A-Za-z0-9_.-]{16,}  # GitHub, GitLab, Hugging Face, registries, Shopify, SendGrid and others
    | xox[abeoprs]-[A-Za-z0-9-]{10,} | xapp-[A-Za-z0-9-]{10,}  # Slack
    | AIza[A-Za-z0-9_-]{30,} | ya29\.[A-Za-z0-9_-]{20,} | GOCSPX-[A-Za-z0-9_-]{20,}  # Google
    | eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}  # JSON web tokens
    | key-[0-9a-f]{32} | [0-9]{8,10}:AA[A-Za-z0-9_-]{32,}  # Mailgun, Telegram
    )(?![A-Za-z0-9])""",
    re.VERBOSE,
)
_PEM: Final = re.compile(
    r"-----BEGIN ([A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?)-----(?:.*?-----END \1-----|[A-Za-z0-9+/=\s\\]*)", re.DOTALL
)
_NAMED: Final = re.compile(
    r"""(?:key|token|secret|passw(?:or)?d|passwd|pwd|bearer|authorization|credentials?)
    (?:[ _-]?(?:id|key|value))?["']?(?:\s*(?::=|[:=]>?|\bis\b)\s*|\s+)(?:bearer\s+|basic\s+)?["']?
    (?P<value>[A-Za-z0-9+/_.=~-]{16,})(?![A-Za-z0-9])""",
    re.VERBOSE | re.IGNORECASE,
)
_WRITTEN: Final = re.compile(r"[a-z]{9,}|\.[a-z]+\.|^[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+$")  # names of things in code
SHORTEST_KEY: Final = 16
_ENTROPY_OF_ONE_DIGIT = 3.6
_ENTROPY = 3.0  # bits a character; words and names written together come to less, hexadecimal keys to 3.5 and more


def find_pem(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each private key in PEM."""
    yield from (found.span() for found in _PEM.finditer(text))


def find_keys(text: str, first: int, last: int) -> Iterator[tuple[int, int]]:
    """Start and end of each key between two places; one begins with an issuer's mark or stands behind a word such as `token`."""
    for found in _SHAPES.finditer(text, first, last):
        if _mixed(found[0]):
            yield found.start(), found.start() + len(found[0].rstrip(".-_"))
    for found in _NAMED.finditer(text, first, last):
        value = found["value"].rstrip(".=-")
        if _mixed(value) and entropy(value) >= _ENTROPY and not _WRITTEN.search(value):
            yield found.start("value"), found.start("value") + len(value)


def _mixed(text: str) -> bool:
    """Whether it has digits and letters: names written together have only these, or one number."""
    digits = sum(map(str.isdigit, text))
    return any(map(str.isalpha, text)) and (digits >= 2 or (digits == 1 and entropy(text) >= _ENTROPY_OF_ONE_DIGIT))


def entropy(text: str) -> float:
    """Bits a character, from how often each occurs in the text itself (Shannon 1948)."""
    return -sum(count / len(text) * math.log2(count / len(text)) for count in Counter(text).values())
