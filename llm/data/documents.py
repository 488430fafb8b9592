"""What a source gives: files, documents, and the passages that long documents are cut into."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class SourceFile:
    """A file as it was read: its name relative to the source, its sha256, and its bytes on disk and, unpacked, of text."""

    name: str
    sha256: str
    bytes: int
    text_bytes: int


@dataclass(frozen=True)
class Document:
    """A document, or a passage of one. `parent` is the id of the whole document: its own, where it was not cut."""

    id: str
    parent: str
    source: str
    text: str


def cut_document(document_id: str, source: str, texts: Iterable[str], max_bytes: int) -> Iterator[Document]:
    """A document whose text comes in pieces, cut into passages named `<document_id>.1` and on where it is too long."""
    number, held = 1, ""
    for passage in cut(texts, max_bytes):
        if held:
            yield Document(f"{document_id}.{number}", document_id, source, held)
            number += 1
        held = passage
    yield Document(document_id if number == 1 else f"{document_id}.{number}", document_id, source, held)


def cut(texts: Iterable[str], max_bytes: int) -> Iterator[str]:
    """Cuts the text that `texts` make together into passages of at most `max_bytes` of UTF-8 (0: one passage).

    At the last blank line that leaves a passage of a fair length, else at a line end, else at a space, else between two
    characters. Blank lines and spaces at a cut are dropped; where no cut is needed, nothing is. How the text comes in pieces
    changes nothing: a file is cut while it is read, and never held as a whole.
    """
    held, was_cut = bytearray(), False
    for text in texts:
        held += text.encode()
        while max_bytes and len(held) > 2 * max_bytes:
            was_cut = True
            yield from _take(held, _place(held, max_bytes))
    while max_bytes and len(held) > max_bytes:
        was_cut = True
        yield from _take(held, _place(held, min(max_bytes, len(held) - max_bytes // 4)))  # no scrap is left
    if was_cut:
        yield from _take(held, len(held))
    else:
        yield held.decode()


def _place(held: bytearray, limit: int) -> int:
    for mark in (b"\n\n", b"\n", b" "):
        at = held.rfind(mark, limit // 4, limit)
        if at >= 0:
            return at + len(mark)
    at = limit
    while at and held[at] & 0xC0 == 0x80:  # a byte inside a character
        at -= 1
    if at:
        return at
    at = limit
    while at < len(held) and held[at] & 0xC0 == 0x80:
        at += 1
    return at


def _take(held: bytearray, at: int) -> Iterator[str]:
    passage = held[:at].decode().strip("\n").rstrip()
    del held[:at]
    if passage:
        yield passage
