"""What a source was found to hold: its files by content, before a row of them is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from infra.store.fingerprint import fingerprint

Kind = Literal["stdlib", "file", "folder", "s3", "hub", "mixture"]


@dataclass(frozen=True)
class FoundFile:
    """One file of a source.

    name: relative to the source, printable. sha256: of the bytes as they lie there; of a data set on the hub, of its revision.
    format and packed: as `formats.py` names them. location: what opens it, a path or an address. encoding: what its beginning
    is written in, "mixed" where lines differ, empty where the question does not arise. text_bytes: its bytes unpacked, an
    estimate where it is packed.
    """

    name: str
    sha256: str
    bytes: int
    format: str
    packed: str
    location: str
    encoding: str = ""
    text_bytes: int = 0


@dataclass(frozen=True)
class Found:
    """A source as it is now. `version` is a hash of its files' names and content: where they lie does not bear on it.

    skipped: how many files were left out, by suffix or reason. licence: empty where nobody said. interpreter: which Python's
    standard library it is. path: where it was found; empty for the standard library, which each Python keeps in its own place.
    """

    kind: Kind
    version: str
    files: tuple[FoundFile, ...]
    skipped: Mapping[str, int]
    summary: str
    licence: str = ""
    interpreter: str = ""
    path: str = ""

    @property
    def text_bytes(self) -> int:
        return sum(file.text_bytes for file in self.files)

    def facts(self) -> dict[str, Any]:
        """What the manifest of a dataset says of where it came from; places are no part of it."""
        return {
            "source": {"kind": self.kind, "version": self.version, "summary": self.summary},
            "sources": [{"name": file.name, "sha256": file.sha256, "bytes": file.bytes} for file in self.files],
            "licence": self.licence,
            "interpreter": self.interpreter,
        }


@dataclass(frozen=True)
class Span:
    """A part of a file that is read on its own: the whole, bytes of lines, or row groups, from `start` to before `stop`.

    first: the number of its first row. The spans of a file give, one after the other, the rows that the file gives.
    """

    file: FoundFile
    part: Literal["whole", "lines", "groups"] = "whole"
    start: int = 0
    stop: int = 0
    first: int = 1

    @property
    def identity(self) -> str:
        """A hash of the content: the same rows under the same numbers, wherever the file lies and whatever it is called."""
        return fingerprint([self.file.sha256, self.file.format, self.file.packed, self.part, self.start, self.stop, self.first])


def source_version(hashes: Mapping[str, str], interpreter: str = "") -> str:
    """The version of a source, from the sha256 of its files by name and, of the standard library, the interpreter."""
    return fingerprint({"files": hashes, "interpreter": interpreter} if interpreter else hashes)[:16]
