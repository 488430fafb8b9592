"""The spool: what a run has to say to MLflow, one JSON line each, appended in microseconds, whatever the network does.

Beside `<run>.jsonl` stands `<run>.shipped.json`: how far it was shipped, and as which MLflow run.
"""

import errno
import json
import logging
import os
import re
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from filelock import FileLock

from infra.store.errors import InputError
from infra.store.liveness import Owner

Status = Literal["FINISHED", "FAILED", "KILLED"]
_WAITING_BYTES: Final = 64_000_000
_log = logging.getLogger(__name__)


class Spool:
    """The writing end, one a run: `open` first, then `metrics` and `artifact`, `close` last.

    No method raises because of the disk. What it does not take waits in memory and is written, in order, once it does; the first
    failure is logged as a warning, and at the end what never found room. Making a Spool touches nothing; two processes may append
    to one file.
    """

    def __init__(self, folder: Path, run: str) -> None:
        """run: our run's id, such as `pretrain-1f2e3d4c5b6a-1`; raises InputError unless it can be a file's name."""
        if not re.fullmatch(r"\w[\w.-]*", run):
            raise InputError(f"{run!r} is not a run's id", mend="Ids are letters, digits, '.', '_' and '-'.")
        self.run, self.path = run, folder / f"{run}.jsonl"
        self._descriptor: int | None = None
        self._torn = False  # whether the file ends within a line
        self._lock = threading.Lock()  # the sampler of the machine writes from a thread of its own
        self._waiting: deque[bytes] = deque()  # lines that the disk did not take
        self._waiting_bytes = self._left_out = 0

    def open(self, experiment: str, *, tags: Mapping[str, str] | None = None, params: Mapping[str, str] | None = None) -> None:
        """Opens the run under an experiment's name. This process is its writer: gone without `close`, it was killed."""
        facts = {"run": self.run, "nonce": uuid.uuid4().hex, "experiment": experiment, "writer": asdict(Owner.here())}
        self._append("opened", **facts, tags=dict(tags or {}), params=dict(params or {}))

    def metrics(self, step: int, values: Mapping[str, float], *, shown: bool = True, **kept: Any) -> None:
        """Values after `step` optimizer steps, at this moment.

        shown: whether MLflow gets them; the others are for whoever reads the spool. kept: what stays here in any case.
        """
        self._append("metrics", step=step, values=dict(values), **kept, **({} if shown else {"shown": False}))

    def keep(self, what: str, **facts: Any) -> None:
        """For a later attempt that reads this spool; MLflow does not get it."""
        self._append("kept", what=what, **facts)

    def tags(self, tags: Mapping[str, str]) -> None:
        self._append("tags", tags=dict(tags))

    def artifact(self, path: Path, folder: str = "") -> None:
        """A local file to attach to the run, in `folder` of its artifacts; it must stay where it is until shipped."""
        self._append("artifact", path=str(path.absolute()), folder=folder)

    def close(self, status: Status = "FINISHED") -> None:
        self._append("closed", status=status)
        if lost := len(self._waiting) + self._left_out:
            _log.warning("%s could not be written to the end: MLflow lacks %d records of this run", self.path, lost)
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _append(self, kind: str, **facts: Any) -> None:
        line = json.dumps({"kind": kind, "time": time.time(), **facts}, default=float).encode()
        with self._lock:
            self._take(line)

    def _take(self, line: bytes) -> None:
        if self._waiting_bytes < _WAITING_BYTES:
            self._waiting.append(line)
            self._waiting_bytes += len(line)
        else:
            self._left_out += 1
        try:
            while self._waiting:
                self._write(self._waiting[0])
                self._waiting_bytes -= len(self._waiting.popleft())
        except OSError as error:
            if len(self._waiting) == 1 and self._waiting[0] is line:
                _log.warning(
                    "%s cannot be written (%s): what MLflow is to hear waits in memory; training goes on", self.path, error.strerror
                )

    def _write(self, line: bytes) -> None:
        """Raises OSError unless the whole line is in the file."""
        if self._descriptor is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.path, os.O_APPEND | os.O_CREAT | os.O_RDWR, 0o644)
            size = os.fstat(self._descriptor).st_size
            self._torn = size > 0 and os.pread(self._descriptor, 1, size - 1) != b"\n"
        start = b"\n" if self._torn else b""  # an earlier writer died within a line, or the disk was full: this one stands alone
        self._torn = True
        written = os.write(self._descriptor, start + line + b"\n")
        self._torn = written != len(start + line) + 1
        if written < len(start + line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@dataclass
class Shipped:
    """How far a spool was shipped. `complete`: nothing more will come, and all there is has arrived."""

    run: str
    tracker: str = ""
    """A hash of the tracking server's address: another server gets the run from its first line."""
    mlflow_run_id: str | None = None
    offset: int = 0
    """Bytes of the spool that MLflow has confirmed."""
    last_time: float = 0.0
    """Seconds since the epoch of the last record shipped: when a killed run ended."""
    complete: bool = False
    refused: list[str] = field(default_factory=list)
    """What MLflow would not take, with its reason."""
    trouble: str = ""
    """Why the last attempt failed."""
    format: int = 1

    def save(self, spool: Path) -> None:
        path = _beside(spool, ".shipped.json")
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(json.dumps(asdict(self), indent=1))
        os.replace(temporary, path)


def shipped(spool: Path) -> Shipped:
    """How far the spool was shipped; a damaged note counts as none: shipping again from the start doubles nothing."""
    try:
        return Shipped(**json.loads(_beside(spool, ".shipped.json").read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return Shipped(run=spool.stem)


def lock(spool: Path) -> FileLock:
    """Held by whoever ships from this spool just now."""
    return FileLock(_beside(spool, ".lock"))


def followed(spool: Path) -> FileLock:
    """Held by the process that ships this spool as it grows."""
    return FileLock(_beside(spool, ".followed"))


def pending(folder: Path) -> list[Path]:
    """The spools of which something was not shipped yet, by name."""
    return [path for path in sorted(folder.glob("*.jsonl")) if not shipped(path).complete]


def records(spool: Path, offset: int = 0) -> Iterator[tuple[dict[str, Any], int]]:
    """Every whole record from byte `offset` on, with the byte after it. What a killed writer left of a line is passed over."""
    with spool.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and "kind" in record:
                yield record, offset


def writer_is_gone(spool: Path) -> bool:
    """Whether the process that opened the run has certainly ended; on another host nobody can tell, so False."""
    first = next(records(spool), None)
    writer = first[0].get("writer") if first else None
    return writer is not None and Owner.read(writer).is_gone()


def _beside(spool: Path, suffix: str) -> Path:
    return spool.with_name(spool.name.removesuffix(".jsonl") + suffix)
