"""What a text is written in: judged by its beginning, decoded line by line, never with a guess in the place of a character.

UTF-8 is tried first, always: text that is valid UTF-8 with multi-byte characters is hardly ever anything else. A line that is not
is cp1252 (the superset of latin-1) where single bytes stand alone, and undecodable where valid UTF-8 and stray bytes meet.
"""

import codecs
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final

import charset_normalizer

HEAD: Final = 1 << 20
"""Bytes at the beginning of a file that its encoding is judged by."""
BINARY: Final = "binary"
UNKNOWN: Final = "unknown"
NO_TEXT: Final = "binary: it holds no text"
UNDECODABLE: Final = "its bytes are text in no encoding that is used around it"
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WIDE: Final = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")
_MAGIC: Final = (b"%PDF-", b"PK\x03\x04", b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"\x1f\x8b", b"\x7fELF", b"\xd0\xcf\x11\xe0")
_CONTROLS: Final = bytes(set(range(32)) - set(b"\t\n\r\f\x1b"))
_SEQUENCE: Final = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_ASCII: Final = bytes(range(128))
_NO_CP1252: Final = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
# A sign such as ¿ or ³ between two letters, or ¾ before one, is a letter of another encoding; apostrophe and dashes are not.
_ODD_CP1252: Final = re.compile(
    rb"(?<=[A-Za-z])[\x82\x84\x88]|(?<=[a-z])[\x8a\x8c\x8e\x9f]"  # low quotes and capitals do not follow a small letter
    rb"|((?<=[A-Za-z\xc0-\xff])[\x80-\x83\x86-\x89\xa1-\xac\xae-\xb6\xb8\xb9\xbb-\xbf]"
    rb"|[\xa4-\xa6\xa8\xac\xaf\xb1\xb6\xb8\xbc-\xbe])(?=[A-Za-z\xc0-\xff])"
)
# Those in use on the web; the guess among rarer relatives would be by chance.
_LIKELY = [f"cp{page}" for page in (1250, 1251, 1252, 1253, 1254, 1255, 1256, 1257, 866, 874, 932, 949, 437, 850)]
_LIKELY += ["iso8859_2", "iso8859_5", "iso8859_7", "iso8859_9", "koi8_r", "koi8_u", "euc_jp", "gb18030", "big5", "mac_roman"]
_SAMPLE: Final = 1 << 16
_ENOUGH: Final = 16  # bytes above ASCII; a guess by fewer would be one by chance


def judge(head: bytes) -> str:
    """The encoding of a text by its beginning: as Python names it, "mixed" for UTF-8 and cp1252 lines, "unknown" or "binary"."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    if head.startswith(_MAGIC):
        return BINARY
    if wide := _wide_without_mark(head):
        return wide
    controls = len(head) - len(head.translate(None, _CONTROLS))
    if _is_utf8(head):
        return BINARY if controls * 10 > len(head) else "utf-8"
    if controls * 50 > len(head):
        return BINARY
    return _judge_lines(head)


class LineDecoder:
    """Decodes the lines of one file, counts them by encoding, and says None for a line that cannot be decoded.

    encoding: as `judge` names it; `wide` ones must have gone through `as_utf8` first.
    """

    def __init__(self, encoding: str) -> None:
        self.counts: Counter[str] = Counter()
        self._utf8 = 0
        self._name = encoding if encoding in _WIDE else "utf-8"
        known = {"utf-8", "utf-8-sig", "mixed", "cp1252", BINARY, UNKNOWN, "", *_WIDE}
        self._strict = encoding in {UNKNOWN, *_WIDE}
        self._other = "" if encoding in known else encoding
        self._may_be_cut = encoding in {"utf-8", "utf-8-sig"}

    @property
    def knows_utf8_alone(self) -> bool:
        """Whether nothing but UTF-8 was found at the beginning."""
        return self._strict or self._may_be_cut

    def decode(self, line: bytes) -> str | None:
        """line: with its line end, if it had one."""
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            return self._decode_other(line, cut=error.reason == "unexpected end of data")
        self._utf8 += 1
        return text

    def tally(self) -> Counter[str]:
        """How many lines were read as what; those that are ASCII alone count as UTF-8."""
        return self.counts + Counter({self._name: self._utf8})

    def _decode_other(self, line: bytes, cut: bool) -> str | None:
        if self._strict or (cut and self._may_be_cut):  # the file ends in the middle of a character
            return None
        encoding = self._other or "cp1252"
        if encoding == "cp1252" and not _is_single_byte(line):
            return None
        try:
            text = line.decode(encoding)
        except UnicodeDecodeError:
            return None
        self.counts[encoding] += 1
        return text


def as_utf8(chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """The stream as UTF-8 without its mark, where it is UTF-16 or UTF-32; bytes that are neither stay no valid UTF-8."""
    if encoding not in _WIDE:
        yield from _without_mark(chunks)
        return
    decoder = codecs.getincrementaldecoder(encoding)(_UNDECODED)
    for chunk in chunks:
        yield decoder.decode(chunk).encode("utf-8", "surrogatepass")
    yield decoder.decode(b"", final=True).encode("utf-8", "surrogatepass")


def is_wide(encoding: str) -> bool:
    """UTF-16 and UTF-32, whose lines do not end in the byte of a line feed alone."""
    return encoding in _WIDE


def shown(line: bytes) -> str:
    """An undecodable line for a report: its bytes that are no UTF-8 are escaped."""
    return line.decode("utf-8", "backslashreplace").rstrip("\r\n")


_UNDECODED: Final = "slipway-undecoded"
codecs.register_error(_UNDECODED, lambda error: ("\udc80", getattr(error, "end", 0)))  # a mark that UTF-8 refuses


def _without_mark(chunks: Iterable[bytes]) -> Iterator[bytes]:
    first = True
    for chunk in chunks:
        yield chunk.removeprefix(codecs.BOM_UTF8) if first else chunk
        first = False


def _is_utf8(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # the head may end within a character
    except UnicodeDecodeError:
        return False
    return True


def _wide_without_mark(head: bytes) -> str:
    start = head[:4096]
    if b"\0" not in start or len(start) < 4:
        return ""
    even, odd = start[::2].count(0), start[1::2].count(0)
    many, few = len(start) / 5, len(start) / 40
    return "utf-16-le" if odd > many and even < few else "utf-16-be" if even > many and odd < few else ""


def _is_single_byte(line: bytes) -> bool:
    """Whether bytes above ASCII stand for a character each: hardly any are UTF-8 by their neighbours."""
    sequences = _SEQUENCE.findall(line)
    strays = len(line.translate(None, _ASCII)) - sum(map(len, sequences))
    controls = len(line) - len(line.translate(None, _CONTROLS))
    return len(sequences) * 10 <= strays and controls * 10 <= len(line)


def _judge_lines(head: bytes) -> str:
    """Of text that is not UTF-8 throughout: by the lines that have more than ASCII in them."""
    lines = [line for line in head.splitlines() if not line.isascii()]
    odd = [line for line in lines if not _is_utf8(line)]
    single = [line for line in odd if _is_single_byte(line)]
    if single and _is_cp1252(b"\n".join(single)[:_SAMPLE]):
        return "mixed" if len(single) < len(lines) else "cp1252"
    sample = b"\n".join(odd)[:_SAMPLE]
    high = len(sample.translate(None, _ASCII))
    in_sequences = sum(map(len, _SEQUENCE.findall(sample)))
    if len(odd) * 2 < len(lines) or in_sequences * 2 > high:
        return "utf-8" if not single else UNKNOWN
    if high < _ENOUGH:
        return UNKNOWN
    matches = list(charset_normalizer.from_bytes(sample, cp_isolation=_LIKELY))
    near = [match for match in matches if match.chaos <= matches[0].chaos + 0.1 and match.coherence >= matches[0].coherence / 2]
    best = min(near, key=lambda match: _inner_capitals(str(match)), default=None)  # of equals the first, which is the likeliest
    return UNKNOWN if best is None or best.encoding == "cp1252" else codecs.lookup(best.encoding).name


def _inner_capitals(text: str) -> int:
    """Capitals behind another letter: Cyrillic in one encoding reads as such in another."""
    return sum(second.isupper() and first.isalpha() for first, second in pairwise(text))


def _is_cp1252(sample: bytes) -> bool:
    high = len(sample.translate(None, _ASCII))
    if high * 3 > len(sample) or _NO_CP1252.search(sample):
        return False
    return len(_ODD_CP1252.findall(sample)) * 20 <= high
