"""A store that fails or dies at its n-th write: crash points as tests, in milliseconds instead of real kills."""

from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from infra.store.errors import StoreError
from infra.store.protocol import Entry, Store, Versioned


class Fault(Enum):
    """What happens at the n-th write."""

    FAIL = "the write fails, the process lives on"
    DIE_BEFORE = "the process dies, the write never happened"
    DIE_AFTER = "the process dies, the write happened"


class Died(BaseException):
    """The simulated death of the process: not an Exception, so that no handler of ours can catch it by accident."""


class FaultyStore:
    """Wraps a store; write number `at` (from 1) meets `fault`. After a death every further write dies too.

    With `at=0` nothing fails; `writes` then counts how many crash points there are.
    """

    def __init__(self, inner: Store, *, at: int = 0, fault: Fault = Fault.FAIL) -> None:
        self.inner, self.at, self.fault = inner, at, fault
        self.writes = 0
        self.dead = False

    @property
    def url(self) -> str:
        return self.inner.url

    def read(self, name: str) -> bytes:
        return self.inner.read(name)

    def read_versioned(self, name: str) -> Versioned:
        return self.inner.read_versioned(name)

    def write(self, name: str, data: bytes) -> None:
        self._before(name)
        self.inner.write(name, data)
        self._after()

    def write_if_absent(self, name: str, data: bytes) -> bool:
        self._before(name)
        created = self.inner.write_if_absent(name, data)
        self._after()
        return created

    def replace(self, name: str, data: bytes, version: str) -> bool:
        self._before(name)
        replaced = self.inner.replace(name, data, version)
        self._after()
        return replaced

    def put_file(self, name: str, path: Path) -> None:
        self._before(name)
        self.inner.put_file(name, path)
        self._after()

    def get_file(self, name: str, *, sha256: str = "") -> Path:
        return self.inner.get_file(name, sha256=sha256)

    def forget(self, name: str) -> bool:
        return self.inner.forget(name)

    def exists(self, name: str) -> bool:
        return self.inner.exists(name)

    def list(self, prefix: str = "") -> Iterator[Entry]:
        return self.inner.list(prefix)

    def delete(self, name: str) -> None:
        self._before(name)
        self.inner.delete(name)
        self._after()

    def uri(self, name: str) -> str:
        return self.inner.uri(name)

    def check_writable(self) -> None:
        self.inner.check_writable()

    def leftovers(self) -> Iterator[Entry]:
        return self.inner.leftovers()

    def discard(self, leftover: Entry) -> None:
        self._before(leftover.name)
        self.inner.discard(leftover)
        self._after()

    def _before(self, name: str) -> None:
        if self.dead:
            raise Died
        self.writes += 1
        if self.writes != self.at:
            return
        if self.fault is Fault.FAIL:
            raise StoreError(f"write {self.at} fails, as asked", where=name)
        if self.fault is Fault.DIE_BEFORE:
            self.dead = True
            raise Died

    def _after(self) -> None:
        if self.writes == self.at and self.fault is Fault.DIE_AFTER:
            self.dead = True
            raise Died


class AwayStore:
    """Wraps a store that can be cut off: while `away` is true, every use of it raises StoreError."""

    def __init__(self, inner: Store) -> None:
        self.inner, self.away = inner, False

    def __getattr__(self, name: str) -> Any:
        if self.away and name != "url":
            raise StoreError("cut off, as asked", where=self.inner.url)
        return getattr(self.inner, name)
