"""What is gathered and how it is cut into parts, each of which one worker reads and cleans."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from infra.store.fingerprint import fingerprint
from llm.data.cleaning.config import CleaningConfig
from llm.data.reading.found import Found, Span
from llm.data.reading.spans import spans

PART_BYTES: Final = 32_000_000
_FORMAT: Final = 1  # of what lies in a part
_BEARING: Final = ("ftfy", "py3langid", "rensa", "selectolax", "pyarrow")  # another version of these may give other bytes


@dataclass(frozen=True)
class Source:
    """One source of a corpus. name: what its documents are called by where there are several. text_column: empty to find it."""

    found: Found
    name: str = ""
    text_column: str = ""


@dataclass(frozen=True)
class Part:
    """Some neighbouring spans of a source, and all that bears on what becomes of them. Travels to a worker.

    name: of the source. text_column: empty to find that of each file. index: the folder in the store that holds that of the
    evaluation sets, if there are any.
    """

    name: str
    spans: tuple[Span, ...]
    text_column: str
    config: CleaningConfig
    main_language: str = ""
    index: str = ""

    @property
    def title(self) -> str:
        """For a person: the files it reads, by name."""
        names = list(dict.fromkeys(span.file.name for span in self.spans))
        place = f", row {self.spans[0].first:,} and on" if self.spans[0].first > 1 else ""
        return f"{names[0]}{place}" if len(names) == 1 else f"{names[0]} and {len(names) - 1:,} more"

    @property
    def bytes(self) -> int:
        return sum(map(_size, self.spans))

    @property
    def identity(self) -> str:
        """A hash of all that bears on the result: what is read, how it is cleaned, and by which versions of which libraries."""
        return fingerprint(
            {
                "format": _FORMAT,
                "name": self.name,
                "spans": [[span.identity, span.file.name] for span in self.spans],
                "text_column": self.text_column,
                "config": self.config,
                "main_language": self.main_language,
                "index": self.index,
                "versions": [version(name) for name in _BEARING],
            }
        )[:24]


def cut(found: Found, part_bytes: int = PART_BYTES) -> Iterator[tuple[Span, ...]]:
    """A source in parts of about so many bytes as they lie there: a large file in several, many small ones in one."""
    held: list[Span] = []
    size = 0
    for span in spans(found, part_bytes):
        if held and size + _size(span) > part_bytes:
            yield tuple(held)
            held, size = [], 0
        held.append(span)
        size += _size(span)
    if held:
        yield tuple(held)


def _size(span: Span) -> int:
    return span.stop - span.start if span.part == "lines" else span.file.bytes
