"""Text files, read through byte by byte: what is wrong with one is said with its place and its mend, before anything starts."""

import codecs
import difflib
import gzip
import hashlib
import io
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, cast

from infra.store.errors import InputError
from llm.data.documents import SourceFile

SUFFIXES: Final = (".txt", ".md", ".jsonl")
SUPPORTED: Final = ".txt, .md and .jsonl, plain or .gz"
_CHUNK = 1 << 20
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f\x1b"))
_NO_CP1252 = bytes((0x81, 0x8D, 0x8F, 0x90, 0x9D))
_ENCODED = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")


def suffix(name: str) -> str:
    """The supported suffix of a file name, without .gz; empty for any other."""
    stem = name.lower().removesuffix(".gz")
    return next((known for known in SUFFIXES if stem.endswith(known)), "")


def read_through(path: Path, name: str, column: str, key: str = "data.text_column") -> SourceFile | None:
    """Reads every byte once; None for a file with nothing in it but white space.

    Raises InputError naming the file and the byte or line for what is not UTF-8 text, a .gz that ends early, a row of .jsonl
    that is not an object with text under `column`, which the recipe's `key` names.
    """
    try:
        with path.open("rb") as file:
            raw = _Hashed(file)
            packed = path.name.lower().endswith(".gz")
            stream = cast(IO[bytes], gzip.GzipFile(fileobj=raw, mode="rb") if packed else io.BufferedReader(raw, _CHUNK))
            size = _check_rows(stream, path, column, key) if suffix(path.name) == ".jsonl" else _check_text(stream, path)
            return SourceFile(name, raw.digest.hexdigest(), raw.count, size) if size else None
    except EOFError:
        raise InputError("truncated: its compressed data ends early", where=str(path), mend="Copy or download it again.") from None
    except (gzip.BadGzipFile, zlib.error):
        raise InputError("damaged: not gzip data, as its name says", where=str(path), mend="Copy or download it again.") from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror or error})", where=str(path), mend="Check its permissions.") from None


def row_text(line: str, column: str, where: str, key: str = "data.text_column") -> str | None:
    """The text of one line of .jsonl, None for a blank line; half a surrogate pair becomes U+FFFD. Raises InputError."""
    row = row_object(line, where, column)
    return None if row is None else whole_text(row, column, where, key)


def row_object(line: str, where: str, column: str = "text") -> dict[str, Any] | None:
    """One line of .jsonl, None for a blank line. Raises InputError for what is no object."""
    if not line.strip():
        return None
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        place = f", column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        why = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise InputError(f"not JSON ({why}{place})", where=where, mend="Mend the line, or remove it.") from None
    if not isinstance(row, dict):
        what = f"a row is an object such as {{{json.dumps(column)}: ...}}, this is {kind_of(row)}"
        raise InputError(what, where=where, mend="Mend the line, or remove it.")
    return row


def whole_text(row: dict[str, Any], column: str, where: str, key: str = "data.text_column") -> str:
    """The text under a column. Raises InputError, with the recipe's key that names the column where another one may be meant."""
    if column not in row:
        raise no_column(row, column, where, key)
    text = row[column]
    if not isinstance(text, str):
        raise InputError(f"{json.dumps(column)} is {kind_of(text)}, not a string", where=where, mend="Mend the line, or remove it.")
    try:
        text.encode()
    except UnicodeEncodeError:
        text = re.sub("[\ud800-\udfff]", "\ufffd", text)
    return text


class _Hashed(io.RawIOBase):
    """A file that is hashed and counted while it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.digest, self.count = file, hashlib.sha256(), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self.digest.update(data)
        self.count += len(data)
        return len(data)


def _check_text(stream: IO[bytes], path: Path) -> int:
    """Bytes of text, 0 for white space alone."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    offset, blank, start = 0, True, b""
    for chunk in _chunks(stream):
        start = start or chunk
        text = _check_bytes(decoder, chunk, offset, start, path)
        blank = blank and not text.strip()
        offset += len(chunk)
    return 0 if blank else offset


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    while chunk := stream.read(_CHUNK):
        yield chunk
    yield b""


def _check_rows(stream: IO[bytes], path: Path, column: str, key: str) -> int:
    """Bytes of text in the column, 0 when there is no row."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    size = offset = 0
    start = b""
    for number, line in enumerate(stream, start=1):
        start = start or line
        place = f"{path}, line {number}"
        decoded = _check_bytes(decoder, line, offset, start, path, place)
        text = row_text(decoded, column, place, key)
        size += len(text.encode()) + 1 if text is not None else 0
        offset += len(line)
    return size


def _check_bytes(decoder: codecs.IncrementalDecoder, chunk: bytes, offset: int, start: bytes, path: Path, place: str = "") -> str:
    """The chunk decoded; raises InputError with the place of the first byte that is no UTF-8 text."""
    zero = chunk.find(b"\0")
    try:
        text = decoder.decode(chunk[:zero] if zero >= 0 else chunk, final=not chunk)
        if zero < 0:
            return text
        within = zero
    except UnicodeDecodeError as error:
        end = zero if zero >= 0 else len(chunk)
        within = end - (len(error.object) - error.start)
    where = f"{place or path}, byte {offset + within}"
    if path.name.lower().endswith(".gz"):
        where += " unpacked"
    piece = chunk[max(0, within - 4096) : within + 4096] or start[-4096:]
    encoding = _looks_like(start, piece)
    if encoding == "mixed":
        what, mend = "not UTF-8: parts of it are, parts are in another encoding", "Convert those parts, or remove them."
        raise InputError(what, where=where, mend=mend)
    if encoding == "other":
        mend = f"Find out which, and convert it: iconv -f ENCODING -t UTF-8 {path.name}"
        raise InputError("not UTF-8: it looks like text in another encoding", where=where, mend=mend)
    if encoding:
        mend = f"Convert it: iconv -f {encoding} -t UTF-8 {path.name}"
        raise InputError(f"not UTF-8: it looks like {encoding}", where=where, mend=mend)
    what = "a NUL byte, as binary files have" if chunk[within : within + 1] == b"\0" else "not UTF-8: it looks like a binary file"
    raise InputError(what, where=where, mend=f"Give text: {SUPPORTED}, in UTF-8.")


def _looks_like(start: bytes, piece: bytes) -> str:
    """The encoding's name for iconv, "mixed", "other", or nothing for what is hardly text. `start` is the file's beginning."""
    if start.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "UTF-32"
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "UTF-16"
    if b"\0" in piece:
        even, odd = start[:4096:2].count(0), start[1:4096:2].count(0)
        many, few = len(start[:4096]) / 5, len(start[:4096]) / 40
        return "UTF-16LE" if odd > many and even < few else "UTF-16BE" if even > many and odd < few else ""
    high = [byte for byte in piece if byte >= 0x80]
    controls = len(piece) - len(piece.translate(None, _CONTROLS))
    if controls > len(piece) / 100:
        return ""
    if len(_ENCODED.findall(piece)) > len(high) / 10:
        return "mixed"
    if len(high) > len(piece) / 3 or any(byte in _NO_CP1252 for byte in high):
        return "other"
    return "CP1252" if any(byte < 0xA0 for byte in high) else "ISO-8859-1"


def no_column(row: dict[str, Any], column: str, where: str, key: str) -> InputError:
    texts = [name for name, value in row.items() if isinstance(value, str)]
    near = (difflib.get_close_matches(column, texts, 1) or texts)[:1]
    known = ", ".join(json.dumps(name) for name in row) or "none"
    mend = (
        f"Pass --set {key}={near[0]} if that is the {key.rpartition('.')[2].removesuffix('_column')}."
        if near
        else "Mend the line, or remove it."
    )
    return InputError(f"no column {json.dumps(column)}; its columns are {known}", where=where, mend=mend)


def kind_of(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
