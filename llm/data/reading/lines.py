"""A stream of bytes as lines, each with its end, the longest one in memory at a time."""

from collections.abc import Iterable, Iterator


def lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines that end in a line feed."""
    held: list[bytes] = []
    for chunk in chunks:
        first, *rest = chunk.split(b"\n")
        held.append(first)
        if rest:
            yield b"".join(held) + b"\n"
            *whole, last = rest
            for line in whole:
                yield line + b"\n"
            held = [last]
    if last_line := b"".join(held):
        yield last_line


def any_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines that end in a line feed, a carriage return, or both, as old and mixed files have them."""
    for line in lines(chunks):
        if b"\r" in line:
            yield from line.splitlines(keepends=True)
        else:
            yield line
