"""Whether a server's conditional puts are real. Some answer as if they were, and let several writers win at once.

Threads race to create one object, round after round, and exactly one may win each; a stale version may replace nothing; then
they race to replace what all of them have read, and again exactly one may win. Of OpenStack Swift's races for a new name most
have several winners, and it knows no If-Match.
"""

import json
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol

from infra.store.protocol import Versioned

WRITERS: Final = 8
ROUNDS: Final = 5
_REAL_FOR: Final = 7 * 86_400.0  # seconds that a verdict is remembered
_FAULTY_FOR: Final = 600.0  # the server may be mended
_known: dict[Path, str] = {}


class Puts(Protocol):
    """What is tried. `create` and `replace` say whether they wrote; NotImplementedError where the server knows no such put."""

    def create(self, name: str, data: bytes) -> bool: ...

    def replace(self, name: str, data: bytes, version: str) -> bool: ...

    def read(self, name: str) -> Versioned: ...

    def delete(self, name: str) -> None: ...


def find_fault(puts: Puts, folder: str) -> str:
    """What is wrong with the conditional puts, as a sentence; "" when nothing is. Leaves nothing behind in `folder`."""
    with ThreadPoolExecutor(WRITERS) as pool:
        try:
            for _ in range(ROUNDS):
                name = f"{folder}/{uuid.uuid4().hex}"
                try:
                    if fault := _try(puts, name, pool):
                        return fault
                finally:
                    puts.delete(name)
        except NotImplementedError as error:
            return f"this S3 server knows no {error}"
    return ""


def remembered_fault(note: Path, find: Callable[[], str]) -> str:
    """`find()`, or what it said not long ago: in this process, or by the note of another one on this machine."""
    if note not in _known:
        fault = _read(note)
        if fault is None:
            _write(note, fault := find())
        _known[note] = fault
    return _known[note]


def _try(puts: Puts, name: str, pool: ThreadPoolExecutor) -> str:
    created = _race(pool, lambda writer: puts.create(name, writer))
    if created != 1:
        return f"of {WRITERS} writers of one new object, this S3 server told {created} that they had created it"
    stale = puts.read(name)
    if not puts.replace(name, b"new", stale.version):
        return "this S3 server does not replace an object by its version (If-Match)"
    if puts.replace(name, b"late", stale.version):
        return "this S3 server replaces an object though its version is stale (If-Match)"
    current = puts.read(name).version
    replaced = _race(pool, lambda writer: puts.replace(name, writer, current))
    if replaced != 1:
        return f"of {WRITERS} writers that replace one version of an object, this S3 server told {replaced} that they had done it"
    return ""


def _race(pool: ThreadPoolExecutor, write: Callable[[bytes], bool]) -> int:
    """How many of several writers at the same moment win."""
    start = threading.Barrier(WRITERS)

    def run(writer: int) -> bool:
        start.wait()
        return write(str(writer).encode())

    return sum(pool.map(run, range(WRITERS)))


def _read(note: Path) -> str | None:
    try:
        said = json.loads(note.read_text())
        fault = str(said["fault"])
        fresh = time.time() < float(said["at"]) + (_FAULTY_FOR if fault else _REAL_FOR)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return fault if fresh else None


def _write(note: Path, fault: str) -> None:
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        temporary = note.with_name(f"{note.name}.{uuid.uuid4().hex}")
        temporary.write_text(json.dumps({"format": 1, "at": time.time(), "fault": fault}))
        temporary.replace(note)
    except OSError:
        pass  # the next process tries the server again, which costs a second and no more
