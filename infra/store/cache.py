"""The cache of a machine: files of a remote store that were fetched once, checked, and taken away again when room is needed.

Under its folder each store has `files/<name>` (the content, as the store names it, so that a thing's files lie together),
`known/<name>.json` (what the content is: written after it) and `locks/`. A process holds a shared lock on each folder that
it got a file from, for as long as it lives; the folders that nobody holds go first, the longest unused before the others.
"""

import errno
import fcntl
import hashlib
import json
import logging
import os
import shutil
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from infra.store.errors import DamagedError, InputError, StoreError
from infra.store.home import find_home
from infra.store.manifest import remember_sha256, sha256

DEFAULT_GB: Final = 100.0
_HELD_AT_MOST: Final = 256  # folders; each costs a file descriptor
_OLD: Final = 86_400.0  # seconds after which a temporary file belongs to nobody
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Known:
    """What a cached file is: the object's version, its sha256, and the file's own size and time, by which a change shows."""

    version: str
    sha256: str
    bytes: int
    modified_ns: int


class Cache:
    """Safe for several processes and threads. Files in it are to be read or memory-mapped, never written."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self._unseen: int | None = None  # bytes added since the cache was last measured here; None: never measured
        self._room = 0

    @classmethod
    def here(cls) -> "Cache":
        """SLIPWAY_CACHE, else `cache` in Slipway's home; SLIPWAY_CACHE_GB is its limit."""
        given = os.environ.get("SLIPWAY_CACHE")
        folder = Path(given).expanduser() if given else Path(os.environ.get("SLIPWAY_HOME") or find_home(Path.cwd())) / "cache"
        size = os.environ.get("SLIPWAY_CACHE_GB") or DEFAULT_GB
        try:
            limit = float(size)
        except ValueError:
            raise InputError(f"{size!r} is no number of GB", where="SLIPWAY_CACHE_GB", mend="Mend or unset it.") from None
        return _cache(folder.expanduser().absolute(), int(limit * 1e9))

    def find(self, store: str, name: str, *, sha256: str = "", version: str = "") -> Path | None:
        """The cached file, when it is of this content or else of this version, and nobody changed it since."""
        path, known = self._path(store, name), self._known(store, name)
        with self._errors():
            self._hold(store, path.parent)  # first, so that what is found stays
        said = _read(known)
        if said is None or (said.sha256 != sha256 if sha256 else said.version != version):
            return None
        try:
            stat = path.stat()
            os.utime(known)  # its time is when the file was last used
        except FileNotFoundError:
            return None
        return path if (stat.st_size, stat.st_mtime_ns) == (said.bytes, said.modified_ns) else None

    def fetch(self, store: str, name: str, version: str, size: int, sha: str, download: Callable[[Path], None]) -> Path:
        """The file, downloaded unless another process just did. sha: what its content must be, "" where nobody said so.

        Raises DamagedError when what arrives is something else, twice.
        """
        path = self._path(store, name)
        with self._errors(), self._locked(store, f"{path.parent}.get"):
            if found := self.find(store, name, version=version):
                return found
            self._make_room(size)
            for _ in range(2):
                temporary = self._temporary()
                try:
                    download(temporary)
                    if not sha or sha256(temporary) == sha:
                        return self._place(store, name, temporary, version, sha or sha256(temporary))
                finally:
                    temporary.unlink(missing_ok=True)
        raise DamagedError(
            "damaged in the store: what arrives is not what was written",
            where=name,
            mend="Put the file back from a copy, or remove its folder and run again to make it anew.",
        )

    def keep(self, store: str, name: str, version: str, sha: str, file: Path) -> None:
        """Takes over a local file that was just written to the store: who made it often reads it next. It is gone afterwards."""
        with self._errors():
            self._make_room(file.stat().st_size)
            try:
                self._place(store, name, file, version, sha)
            except OSError as error:  # another disk: whoever wants it fetches it
                if error.errno not in (errno.EXDEV, errno.EACCES, errno.EPERM):
                    raise
                file.unlink()

    def drop(self, store: str, name: str) -> bool:
        """Forgets a file; whether it was there. Who has it open or mapped keeps it."""
        self._known(store, name).unlink(missing_ok=True)
        try:
            self._path(store, name).unlink()
        except FileNotFoundError:
            return False
        return True

    def note(self, store: str, name: str) -> Path:
        """Where a small fact about the store itself may be kept."""
        return self.folder / store / f"{name}.json"

    def _path(self, store: str, name: str) -> Path:
        return self.folder / store / "files" / name

    def _known(self, store: str, name: str) -> Path:
        return self.folder / store / "known" / f"{name}.json"

    def _temporary(self) -> Path:
        folder = self.folder / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / uuid.uuid4().hex

    def _place(self, store: str, name: str, temporary: Path, version: str, sha: str) -> Path:
        path, known = self._path(store, name), self._known(store, name)
        self._hold(store, path.parent)
        stat = temporary.stat()
        _move(temporary, path)  # its old description no longer fits it, and the new one is written after it
        note = self._temporary()
        note.write_text(json.dumps(asdict(Known(version, sha, stat.st_size, stat.st_mtime_ns))))
        _move(note, known)
        remember_sha256(path, sha)
        self._unseen = (self._unseen or 0) + stat.st_size
        return path

    def _hold(self, store: str, folder: Path) -> None:
        _hold(self._lock(store, str(folder)))

    def _lock(self, store: str, of: str) -> Path:
        return self.folder / store / "locks" / hashlib.sha256(of.encode()).hexdigest()[:32]

    @contextmanager
    def _locked(self, store: str, of: str) -> Iterator[None]:
        path = self._lock(store, of)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            mend = "Give the folder permissions and space, or set SLIPWAY_CACHE to another, SLIPWAY_CACHE_GB to what it may hold."
            raise StoreError(f"the cache cannot be used ({reason.lower()})", where=str(self.folder), mend=mend) from None

    def _make_room(self, size: int) -> None:
        """Takes folders away until `size` more bytes fit. Measures the cache now and then alone: it may hold many files."""
        if self._unseen is not None and self._unseen + size <= self._room:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "evict.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            shelves = sorted(self._shelves(), key=lambda shelf: shelf.used)
            free = shutil.disk_usage(self.folder).free
            total = sum(shelf.bytes for shelf in shelves)
            limit = min(self.limit, total + free)
            for shelf in shelves:
                if total + size <= limit:
                    break
                if self._evict(shelf):
                    total -= shelf.bytes
            if total + size > limit:
                _log.warning("the cache %s holds more than %.1f GB: all of it is in use", self.folder, limit / 1e9)
        self._unseen, self._room = 0, size + max(0, limit - total - size) // 8

    def _shelves(self) -> Iterator["_Shelf"]:
        """Each folder of cached files, of every store. What a killed process left of a download goes on the way."""
        for temporary in (self.folder / "tmp").glob("*"):
            if _last_used(temporary) < time.time() - _OLD:
                temporary.unlink(missing_ok=True)
        for store in self.folder.iterdir():
            for at, _, names in os.walk(store / "files"):
                files = [Path(at) / name for name in names]
                used = [_last_used(self._known(store.name, file.relative_to(store / "files").as_posix())) for file in files]
                if files:
                    yield _Shelf(store.name, Path(at), tuple(files), max(used), sum(_size(file) for file in files))

    def _evict(self, shelf: "_Shelf") -> bool:
        path = self._lock(shelf.store, str(shelf.folder))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # a living process holds it
                return False
            for file in shelf.files:
                self.drop(shelf.store, file.relative_to(self.folder / shelf.store / "files").as_posix())
        return True


@lru_cache(maxsize=8)
def _cache(folder: Path, limit: int) -> Cache:
    return Cache(folder, limit)  # one for all stores of this process: it remembers how full it is


@dataclass(frozen=True)
class _Shelf:
    store: str
    folder: Path
    files: tuple[Path, ...]
    used: float
    bytes: int


_held: OrderedDict[tuple[int, Path], int] = OrderedDict()  # by process and lock: the descriptor that holds it
_holding = threading.Lock()


def _hold(lock: Path) -> None:
    """Holds `lock`, shared, until this process ends, or until it holds many newer ones."""
    key = (os.getpid(), lock)
    with _holding:
        if key in _held:
            _held.move_to_end(key)
            return
        lock.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        _held[key] = descriptor
        if len(_held) > _HELD_AT_MOST:
            os.close(_held.popitem(last=False)[1])


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(source, target)


def _read(path: Path) -> Known | None:
    try:
        return Known(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _last_used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
