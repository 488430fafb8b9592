"""Packed files as a stream of bytes: all that can be read comes out, and then what is wrong."""

import bz2
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, Final

import zstandard

CHUNK: Final = 1 << 18
_IN: Final = {"gz": 1 << 16, "bz2": 1 << 16, "xz": 1 << 16, "zst": 1 << 12}  # zstandard's output has no limit but its input's
_NAMES: Final = {"gz": "gzip", "zst": "Zstandard", "bz2": "bzip2", "xz": "xz"}


class UnreadableError(Exception):
    """A file that cannot be read on: `what` is wrong, as one phrase, and how to `mend` it."""

    def __init__(self, what: str, mend: str = "Copy or download it again.") -> None:
        super().__init__(what)
        self.what, self.mend = what, mend


def chunks(path: Path, packed: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
    """The bytes of a file, unpacked, in pieces of bounded size; of a plain one, those from `start` to `stop`.

    Raises UnreadableError after the last good piece where the data end early, are damaged or may not be read.
    """
    try:
        with path.open("rb") as file:
            yield from _unpacked(file, packed) if packed else _plain(file, start, stop)
    except OSError as error:
        raise UnreadableError(f"cannot be read ({error.strerror or error})", "Check the file and its permissions.") from None


@contextmanager
def unpacked_file(path: Path, packed: str) -> Iterator[Path]:
    """A plain file with the same content, for formats that are not read from front to back. Raises UnreadableError."""
    if not packed:
        yield path
        return
    with TemporaryDirectory(prefix="slipway-unpacked-") as folder:
        plain = Path(folder, "plain")
        with plain.open("wb") as file:
            for chunk in chunks(path, packed):
                file.write(chunk)
        yield plain


def _plain(file: IO[bytes], start: int, stop: int | None) -> Iterator[bytes]:
    file.seek(start)
    left = -1 if stop is None else stop - start
    while left and (chunk := file.read(CHUNK if left < 0 else min(CHUNK, left))):
        left -= len(chunk) if left > 0 else 0
        yield chunk


def _unpacked(file: IO[bytes], packed: str) -> Iterator[bytes]:
    """Archives may consist of several members, one after the other, as parallel packers write them, with zeros between."""
    member, members = _member(packed), 0
    try:
        while data := file.read(_IN[packed]):
            while data:
                if member.eof:
                    data = data.lstrip(b"\0")
                    member, members = (_member(packed), members + 1) if data else (member, members)
                else:
                    yield from _pieces(member, data, packed)
                    data = member.unused_data if member.eof else b""
    except (zlib.error, lzma.LZMAError, zstandard.ZstdError, EOFError, ValueError, MemoryError, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # the disk's, not bzip2's
        raise UnreadableError(
            f"damaged: its data are not {_NAMES[packed]}{' to the end' * bool(members)}, as its name says"
        ) from None
    if not member.eof:
        if packed == "gz":
            yield member.flush()
        raise UnreadableError("truncated: its packed data end early")


def _pieces(member: Any, data: bytes, packed: str) -> Iterator[bytes]:
    """What `data` unpack to, in pieces: a few bytes may hold gigabytes."""
    if packed == "zst":
        piece = member.decompress(data)
        yield from (piece[start : start + CHUNK] for start in range(0, len(piece), CHUNK))
    elif packed == "gz":
        while data and not member.eof:
            yield member.decompress(data, CHUNK)
            data = member.unconsumed_tail
    else:
        yield member.decompress(data, CHUNK)
        while not (member.eof or member.needs_input):
            yield member.decompress(b"", CHUNK)


def _member(packed: str) -> Any:
    if packed == "gz":
        return zlib.decompressobj(31)
    if packed == "zst":
        return zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj()  # as archives made with --long ask for
    return bz2.BZ2Decompressor() if packed == "bz2" else lzma.LZMADecompressor(lzma.FORMAT_XZ)
