"""Personal data and keys in a text, by their shape and by the checks that their issuers put into them."""

import ipaddress
import re
from collections.abc import Iterator
from typing import Final

import numpy as np

from llm.data.cleaning.secrets import SHORTEST_KEY, find_keys, find_pem
from llm.data.rows import Finding

PLACEHOLDERS: Final = {
    "pii:email": "<EMAIL>",
    "pii:phone": "<PHONE>",
    "pii:ip": "<IP>",
    "pii:card": "<CARD>",
    "pii:iban": "<IBAN>",
    "pii:key": "<KEY>",
    "pii:ssn": "<SSN>",
    "pii:addr": "<ADDRESS>",
}

_EMAIL: Final = re.compile(
    r"(?<![\w.+%-])[a-z0-9](?:[\w.+%-]{0,62}[\w+%-])?@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.){1,8}[a-z]{2,24}(?![\w-])",
    re.IGNORECASE,
)
_SSN: Final = re.compile(r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])")
_CARD: Final = re.compile(r"(?<![\d.-])(?:\d{4}([ -]?)\d{4}\1\d{4}\1\d{1,7}|3\d{3}([ -]?)\d{6}\2\d{4,5}|\d{12,19})(?![\d-]|\.\d)")
_CARD_STARTS: Final = re.compile(  # Visa, Mastercard, American Express, Diners, Discover, JCB, UnionPay, Maestro, Mir
    r"4|5[1-5]|2(?:22[1-9]|2[3-9]|[3-6]|7[01]|720)|3[47]|3(?:0[0-5]|095|[689])|35(?:2[89]|[3-8])|50|5[6-8]|6|220[0-4]"
)
_IBAN: Final = re.compile(r"(?<![A-Za-z0-9])([A-Z]{2}\d{2})((?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?)(?![A-Za-z0-9])")
_IBAN_COUNTRIES: Final = {
    15: "NO",
    16: "BE",
    18: "DK FI FK FO GL NL SD",
    19: "MK SI",
    20: "AT BA EE KZ LT LU MN XK",
    21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA",
    23: "AE GI IL IQ OM SO TL",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST",
    26: "IS TR",
    27: "BI DJ FR GR IT MC MR SM",
    28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
    29: "BR EG PS QA UA",
    30: "JO KW MU YE",
    31: "MT SC",
    32: "LC",
    33: "RU",
}
"""Countries by the characters of their account numbers (ISO 13616)."""
_IBAN_LENGTHS: Final = {country: length for length, countries in _IBAN_COUNTRIES.items() for country in countries.split()}
_IPV4: Final = re.compile(r"(?<![\w.-])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\w-]|\.\d)")
_IPV6: Final = re.compile(
    r"(?<![\w:.])(?:[0-9a-f]{1,4}(?::{1,2}[0-9a-f]{1,4}){2,7}(?:::)?|[0-9a-f]{1,4}::(?:[0-9a-f]{1,4})?|::[0-9a-f]{1,4})(?![\w:])",
    re.IGNORECASE,
)
_VERSION: Final = re.compile(r"(?:\bv|version|release|revision|section|chapter|rev\.?|ver\.?|§|[=<>~^]=?)\s*$", re.IGNORECASE)
_PHONE: Final = re.compile(
    r"""(?<![\w.+/$€£#=-])(?:
      (?P<international> (?:\+|00[ .-]?)[1-9]\d{0,2} (?:[ .-]?\(0?\d{0,4}\))? (?:[ .-]?\d{1,5}){2,6} )
    | (?P<national> (?:1[ .-])? (?:\([2-9]\d{2}\)[ ]?|[2-9]\d{2}[ .-]) [2-9]\d{2} [ .-] \d{4} )
    | (?P<named> (?<=tel)\d{7,12} )
    )(?![\w-]|[./]\d)""",
    re.VERBOSE,
)
_CALLED: Final = re.compile(
    r"""\b(?:phone|telephone|tel|mobile|cell|fax|whatsapp|text|sms|hotline|helpline|contact
    |call(?:[ ]+(?:us|me|now))?(?:[ ]+(?:at|on))?)\b \.?(?:\s*(?:no|number|nr|\#)\.?)?\s*[:\#-]?\s*
    (\+?\(?\d[\d ().-]{5,16}\d)(?![\w-]|[./]\d)""",
    re.IGNORECASE | re.VERBOSE,
)
_STREETS: Final = (
    "Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Place|Pl|Square|Sq|Terrace|Ter|Way|Parkway|Pkwy|Highway|Hwy|"
    "Circle|Cir|Trail|Trl|Crescent|Alley|Row|Close|Mews|Plaza|Loop|Turnpike"
)
_ADDRESS: Final = re.compile(
    rf"""\d{{1,5}}[A-Za-z]?(?:-\d{{1,4}})?[ ](?:[NSEW]\.?[ ]|(?:North|South|East|West)[ ])?
    (?:(?:[A-Z][\w'’.-]*|\d{{1,3}}(?:st|nd|rd|th))[ ]){{1,4}}(?:{_STREETS})\b\.?
    (?P<unit>,?[ ](?:Apt|Apartment|Suite|Ste|Unit|Floor|Fl|Room|\#)\.?[ ]?\w{{1,6}})?
    (?P<place>,[ \n](?:[A-Z][\w'’.-]*[ ]?){{1,4}},?[ \n][A-Z]{{2}}[ ,]{{1,2}}\d{{5}}(?:-\d{{4}})?)?
    """,
    re.VERBOSE,
)
_HOUSE: Final = re.compile(r"(?<![\w.,$£€/-])\d{1,5}(?=[A-Za-z]?(?:-\d{1,4})? [A-Z\d])")
_BOX: Final = re.compile(r"\bP\.? ?O\.? Box \d{1,6}(?:,[ \n](?:[A-Z][\w'’.-]*[ ]?){1,4},?[ \n][A-Z]{2} \d{5}(?:-\d{4})?)?")
_YEAR: Final = re.compile(r"1[5-9]\d\d |20\d\d ")
_DATE: Final = re.compile(
    r"(?:1[5-9]|20)\d\d[ .-]\d\d?[ .-]\d\d?|\d\d?[ .-]\d\d?[ .-](?:1[5-9]|20)\d\d|(?:1[5-9]|20)\d\d ?- ?(?:1[5-9]|20)\d\d"
)
_DECIMAL: Final = re.compile(r"\+\d+\.\d*")
_NO_DIGIT: Final = re.compile(r"\D")
_NOBODYS: Final = frozenset(("0.0.0.0", "127.0.0.1", "255.255.255.255"))
_IPV6_COLONS = 7

_NEAR, _MARGIN, _LONGEST_KEY = 7, 48, 300  # characters: between digits of one cluster, looked at around it, and behind it for a key
_UNBROKEN_START: Final = re.compile(rf"\S{{0,{SHORTEST_KEY}}}\Z")
_UNBROKEN_END: Final = re.compile(rf"\S{{0,{SHORTEST_KEY}}}")


def find_pii(text: str) -> list[Finding]:
    """What a text gives away, in the order of its places; no two overlap.

    All but e-mail addresses hold digits, so that the patterns are tried only around them: clean prose costs next to nothing.
    """
    found = list(_emails(text)) if "@" in text else []
    if "-----BEGIN" in text:
        found += [Finding("pii:key", *span) for span in find_pem(text)]
    if "::" in text or text.count(":") >= _IPV6_COLONS:
        found += _ipv6(text)
    for start, end, digits in _clusters(text):
        found += _around(text, start, end, digits)
    if len(found) < 2:
        return found
    kept: list[Finding] = []
    for finding in sorted(found, key=lambda one: (one.start, -one.end)):  # where two overlap, the first, else the longer
        if not kept or finding.start >= kept[-1].end:
            kept.append(finding)
    return kept


def _clusters(text: str) -> Iterator[tuple[int, int, int]]:
    """Start, end and number of the ASCII digits that stand near each other."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    places = np.flatnonzero(codes - 48 < 10)  # below 48 the difference wraps round
    if len(places):
        breaks = np.flatnonzero(np.diff(places) > _NEAR)
        firsts, lasts = np.append(0, breaks + 1), np.append(breaks, len(places) - 1)
        yield from zip(places[firsts].tolist(), (places[lasts] + 1).tolist(), (lasts - firsts + 1).tolist(), strict=True)


def _around(text: str, start: int, end: int, digits: int) -> Iterator[Finding]:
    """What the patterns find from some characters before a cluster of digits to some characters after it."""
    first, last = max(0, start - _MARGIN), min(len(text), end + _MARGIN)
    yield from _addresses(text, start, end)
    if len(_UNBROKEN_END.match(text, start)[0]) + len(_UNBROKEN_START.search(text, first, start)[0]) >= SHORTEST_KEY:  # type: ignore[index]
        yield from (Finding("pii:key", *span) for span in find_keys(text, first, min(len(text), end + _LONGEST_KEY)))
    if digits < 4:
        return
    yield from _ipv4(text, first, last)
    yield from _ibans(text, first, last)
    if digits >= 7:
        yield from _phones(text, first, last)
    if digits >= 9:
        yield from (Finding("pii:ssn", *found.span()) for found in _SSN.finditer(text, first, last))
    if digits >= 12:
        yield from _cards(text, first, last)


def replace_pii(text: str, findings: list[Finding]) -> str:
    """The text with each finding as its placeholder, such as <EMAIL>; findings in order and apart, as `find_pii` gives them."""
    parts, end = list[str](), 0
    for finding in findings:
        parts += [text[end : finding.start], PLACEHOLDERS[finding.kind]]
        end = finding.end
    return "".join([*parts, text[end:]])


def _emails(text: str) -> Iterator[Finding]:
    for found in _EMAIL.finditer(text):
        yield Finding("pii:email", *found.span())


def _ibans(text: str, first: int, last: int) -> Iterator[Finding]:
    for found in _IBAN.finditer(text, first, last):
        length = _IBAN_LENGTHS.get(found[1][:2])
        if length is None:
            continue
        end, held = found.start(), 0
        while end < found.end() and held < length:  # what follows after a space may be the next word
            held += text[end] != " "
            end += 1
        account = text[found.start() : end].replace(" ", "")
        if len(account) == length and not text[end : end + 1].isalnum() and _iban_remainder(account) == 1:
            yield Finding("pii:iban", found.start(), end)


def _iban_remainder(account: str) -> int:
    """ISO 7064 modulo 97 of an account number, 1 where it is right."""
    return int("".join(str(int(character, 36)) for character in account[4:] + account[:4])) % 97


def _cards(text: str, first: int, last: int) -> Iterator[Finding]:
    for found in _CARD.finditer(text, first, last):
        digits = re.sub(r"\D", "", found[0])
        if 12 <= len(digits) <= 19 and _CARD_STARTS.match(digits) and len(set(digits)) > 1 and luhn(digits):
            yield Finding("pii:card", *found.span())


def luhn(digits: str) -> bool:
    """Whether the last digit is the check of those before it (ISO/IEC 7812)."""
    total = sum(int(digit) for digit in digits[-1::-2]) + sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return total % 10 == 0


def _ipv4(text: str, first: int, last: int) -> Iterator[Finding]:
    for found in _IPV4.finditer(text, first, last):
        if found[0] not in _NOBODYS and not _VERSION.search(text, max(0, found.start() - 12), found.start()):
            yield Finding("pii:ip", *found.span())


def _ipv6(text: str) -> Iterator[Finding]:
    for found in _IPV6.finditer(text):
        if _is_ipv6(found[0]):
            yield Finding("pii:ip", *found.span())


def _is_ipv6(text: str) -> bool:
    """A full address or a shortened one of at least two groups with a digit in it: neither `1::2` of code nor a time 10:11:12."""
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        return False
    groups = [group for group in text.split(":") if group]
    return not address.is_loopback and (len(groups) == 8 or (len(groups) >= 2 and any(len(group) >= 3 for group in groups)))


def _phones(text: str, first: int, last: int) -> Iterator[Finding]:
    for found in _PHONE.finditer(text, first, last):
        digits = len(_NO_DIGIT.sub("", found[0]))
        if found["national"] or (8 <= digits <= 15 and not _DECIMAL.fullmatch(found[0])):
            yield Finding("pii:phone", *found.span())
    for found in _CALLED.finditer(text, first, last):
        digits = len(_NO_DIGIT.sub("", found[1]))
        if 7 <= digits <= 15 and not _DATE.fullmatch(found[1]) and not _IPV4.fullmatch(found[1]):
            yield Finding("pii:phone", *found.span(1))


def _addresses(text: str, start: int, end: int) -> Iterator[Finding]:
    for number in _HOUSE.finditer(text, start, min(len(text), end + 8)):
        found = _ADDRESS.match(text, number.start())
        if found and (found["place"] or found["unit"] or not _YEAR.match(found[0])):  # In 1820 Wall Street ...
            yield Finding("pii:addr", found.start(), found.end() - found[0].endswith("."))
    for found in _BOX.finditer(text, max(0, start - len("P. O. Box ")), min(len(text), end + _MARGIN)):
        yield Finding("pii:addr", *found.span())
