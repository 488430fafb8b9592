"""What every store can do, whatever it stands on: a folder here, S3 there."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from infra.store.errors import StoreError


@dataclass(frozen=True)
class Entry:
    """One object of a listing. `modified` is in seconds since the epoch."""

    name: str
    bytes: int
    modified: float


@dataclass(frozen=True)
class Versioned:
    """An object's content and an opaque version that changes with every write of it."""

    data: bytes
    version: str


class Store(Protocol):
    """Objects by name. Names are relative POSIX paths; every write is atomic: a reader sees all of it or none.

    Reading a name that is not there raises NotFoundError; a store that cannot be reached or written, StoreError.
    """

    @property
    def url(self) -> str:
        """Where it is; `open_store(url)` in another process gives the same store."""
        ...

    def read(self, name: str) -> bytes: ...

    def read_versioned(self, name: str) -> Versioned: ...

    def write(self, name: str, data: bytes) -> None:
        """Creates or replaces."""
        ...

    def write_if_absent(self, name: str, data: bytes) -> bool:
        """Creates, or returns False and changes nothing. Of several writers exactly one gets True."""
        ...

    def replace(self, name: str, data: bytes, version: str) -> bool:
        """Replaces the version that was read, or returns False because somebody wrote in between."""
        ...

    def put_file(self, name: str, path: Path) -> None:
        """Makes a local file an object and consumes it: the file at `path` is gone afterwards."""
        ...

    def get_file(self, name: str, *, sha256: str = "") -> Path:
        """A local file with the object's content, to read or memory-map, never to write.

        A remote store copies it into this machine's cache. sha256: what the content is known to be; a copy of that content
        is then given without asking the store. The caller checks it all the same.
        """
        ...

    def forget(self, name: str) -> bool:
        """Drops this machine's copy of an object; False where there was none, and always where files are given as they lie."""
        ...

    def exists(self, name: str) -> bool: ...

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Every object whose name starts with the folder `prefix`, in the order of names."""
        ...

    def delete(self, name: str) -> None:
        """Removes the object; no error when it is gone already."""
        ...

    def uri(self, name: str) -> str:
        """The object's or folder's address for other systems: `file:///...` or `s3://...`."""
        ...

    def check_writable(self) -> None:
        """Raises StoreError, with the reason, unless a write would succeed, of a lease too. Leaves nothing behind."""
        ...

    def leftovers(self) -> Iterator[Entry]:
        """What writers that died left half-written, and no listing shows; to be removed by `discard` once it is old."""
        ...

    def discard(self, leftover: Entry) -> None: ...


def checked_name(name: str) -> str:
    """`name` itself, or StoreError: a name never leaves the store."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or str(path) != name:
        raise StoreError(f"{name!r} is not a name in a store", mend="Names are relative paths such as stages/1f2e.json.")
    return name
