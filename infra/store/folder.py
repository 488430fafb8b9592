"""A store in a folder: atomic by rename, put-if-absent by hard link, compare-and-swap under a file lock."""

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from infra.store.errors import NotFoundError, StoreError
from infra.store.protocol import Entry, Versioned, checked_name

_HIDDEN = ".store"  # temporary files and the lock; never listed


class FolderStore:
    """Objects are files under one folder. Safe for many processes on one machine."""

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.abspath(root))

    @property
    def url(self) -> str:
        return str(self.root)

    def read(self, name: str) -> bytes:
        return self.read_versioned(name).data

    def read_versioned(self, name: str) -> Versioned:
        with self._errors(name):
            data = self._path(name).read_bytes()
        return Versioned(data, _version(data))

    def write(self, name: str, data: bytes) -> None:
        with self._errors(name):
            self._place(self._temporary(data), name, os.replace)

    def write_if_absent(self, name: str, data: bytes) -> bool:
        with self._errors(name):
            temporary = self._temporary(data)
            try:
                self._place(temporary, name, os.link)
            except FileExistsError:
                return False
            finally:
                temporary.unlink()
        return True

    def replace(self, name: str, data: bytes, version: str) -> bool:
        with self._errors(name), self._lock():
            if not (path := self._path(name)).exists() or _version(path.read_bytes()) != version:
                return False
            self._place(self._temporary(data), name, os.replace)
        return True

    def put_file(self, name: str, path: Path) -> None:
        with self._errors(name):
            try:
                with path.open("rb") as file:
                    os.fsync(file.fileno())
                self._place(path, name, os.replace)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                temporary = self._new_temporary()  # another disk: copy beside the target first, so that the last move is atomic
                shutil.copyfile(path, temporary)
                self._place(temporary, name, os.replace)
                path.unlink()

    def get_file(self, name: str, *, sha256: str = "") -> Path:
        path = self._path(name)
        if not path.is_file():
            raise NotFoundError("no such file in the store", where=str(path))
        return path

    def forget(self, name: str) -> bool:
        return False  # the file is no copy

    def exists(self, name: str) -> bool:
        return self._path(name).is_file()

    def list(self, prefix: str = "") -> Iterator[Entry]:
        top = self._path(prefix) if prefix else self.root
        names = sorted(
            (Path(folder, file).relative_to(self.root).as_posix() for folder, _, files in os.walk(top) for file in files)
        )
        for name in names:
            if not name.startswith(f"{_HIDDEN}/") and (path := self.root / name).is_file():
                stat = path.stat()
                yield Entry(name, stat.st_size, stat.st_mtime)

    def delete(self, name: str) -> None:
        with self._errors(name):
            path = self._path(name)
            path.unlink(missing_ok=True)
            for parent in path.parents:  # an empty folder is no object
                if parent == self.root or not _remove_if_empty(parent):
                    break

    def uri(self, name: str) -> str:
        return (self.root / name).as_uri()

    def check_writable(self) -> None:
        existing = self.root
        while not existing.exists() and existing != existing.parent:
            existing = existing.parent
        try:
            with tempfile.TemporaryFile(dir=existing) as file:
                file.write(b"x")
        except OSError as error:
            raise _store_error(error, self.root) from None

    def leftovers(self) -> Iterator[Entry]:
        for path in sorted((self.root / _HIDDEN / "tmp").glob("*")):
            with suppress(FileNotFoundError):
                stat = path.stat()
                yield Entry(path.relative_to(self.root).as_posix(), stat.st_size, stat.st_mtime)

    def discard(self, leftover: Entry) -> None:
        with self._errors(leftover.name):
            self._path(leftover.name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self.root / checked_name(name)

    def _new_temporary(self) -> Path:
        folder = self.root / _HIDDEN / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / uuid.uuid4().hex

    def _temporary(self, data: bytes) -> Path:
        path = self._new_temporary()
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return path

    def _place(self, temporary: Path, name: str, move: Callable[[Path, Path], None]) -> None:
        path = self._path(name)
        while True:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                move(temporary, path)
                break
            except FileNotFoundError:
                if not temporary.exists():
                    raise
                # a delete elsewhere removed the folder while it was empty: make it again
        _sync_folder(path.parent)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        path = self.root / _HIDDEN / "lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        try:
            yield
        except FileExistsError:
            raise
        except FileNotFoundError:
            raise NotFoundError("no such file in the store", where=str(self.root / name)) from None
        except OSError as error:
            raise _store_error(error, self.root / name) from None


def _store_error(error: OSError, path: Path) -> StoreError:
    reason = error.strerror or str(error)
    return StoreError(
        f"the store cannot be read or written here ({reason[0].lower()}{reason[1:]})",
        where=str(path),
        mend="Give the folder back its permissions and space, or set SLIPWAY_STORE to another folder.",
    )


def _version(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _remove_if_empty(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
