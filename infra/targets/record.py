"""What is known of a target: `<home>/targets/<name>/target.json`, replaced as a whole: a kill leaves the old one or the new one.

It says what is meant to serve, which processes were started for it, and which step a deployment had come to.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

from infra.store.liveness import Process

FORMAT = 1
FILE = "target.json"


@dataclass(frozen=True)
class Release:
    """A version that serves, or served.

    model: `models:/NAME/3`; package: its content version; folder: where it lies in the store, a path or an s3:// address;
    golden: answers it has to give.
    """

    model: str
    name: str
    package: str
    folder: str
    golden: tuple[Mapping[str, Any], ...] = ()

    def same(self, other: "Release | None") -> bool:
        """Whether it is this very version, and still the same package."""
        return other is not None and (self.model, self.package) == (other.model, other.package)

    def brief(self) -> dict[str, str]:
        return {"model": self.model, "package": self.package}


@dataclass(frozen=True)
class Server:
    """A model server as it was started. rollout: the id of the change that started it."""

    rollout: str
    port: int
    process: Process
    since: str


Phase = Literal["starting", "switching", "switched", "draining"]


@dataclass(frozen=True)
class Rollout:
    """A change under way. action `restart` brings back what is meant to serve, and is no decision: the ledger does not hear of it.

    phase: `starting`: the old version serves; `switching`: the new one passed every check and is being pointed at; `switched`:
    it serves, and the ledger does not know yet; `draining`: all that is left is the old server's end.
    """

    id: str
    action: Literal["deploy", "rollback", "restart"]
    release: Release
    slot: str
    who: str
    why: str
    started: str
    phase: Phase = "starting"
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """A target. releases: the last is meant to serve, those before it are what a rollback goes back to.

    withdrawn: packages that a rollback took away. stopped: put to rest by `slipway down`.
    """

    name: str
    port: int = 0
    proxy: Process | None = None
    releases: tuple[Release, ...] = ()
    since: str = ""
    active: str = ""
    servers: Mapping[str, Server] = field(default_factory=dict)
    rollout: Rollout | None = None
    withdrawn: tuple[str, ...] = ()
    stopped: bool = False

    @property
    def release(self) -> Release | None:
        return self.releases[-1] if self.releases else None

    @property
    def url(self) -> str | None:
        return f"http://127.0.0.1:{self.port}" if self.port else None

    @property
    def server(self) -> Server | None:
        """The server that is meant to answer."""
        return self.servers.get(self.active)

    def with_server(self, slot: str, server: Server | None) -> Self:
        servers = {name: each for name, each in self.servers.items() if name != slot}
        return replace(self, servers=servers | ({slot: server} if server else {}))


def read(folder: Path) -> Record | None:
    """The record in a target's folder; None when there is none, or one that cannot be read."""
    try:
        document = json.loads((folder / FILE).read_text())
        if document.pop("format") != FORMAT:
            return None
        return _record(document)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write(folder: Path, record: Record) -> None:
    temporary = folder / f"{FILE}.{os.getpid()}"
    with temporary.open("w") as file:
        json.dump({"format": FORMAT, **asdict(record)}, file, indent=1, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / FILE)


def _record(document: dict[str, Any]) -> Record:
    rollout, proxy = document.pop("rollout"), document.pop("proxy")
    servers = {name: Server(**{**each, "process": Process(**each["process"])}) for name, each in document.pop("servers").items()}
    return Record(
        **{
            **document,
            "releases": tuple(_release(each) for each in document["releases"]),
            "withdrawn": tuple(document["withdrawn"]),
            "servers": servers,
            "rollout": Rollout(**{**rollout, "release": _release(rollout["release"])}) if rollout else None,
            "proxy": Process(**proxy) if proxy else None,
        }
    )


def _release(fields: dict[str, Any]) -> Release:
    return Release(**{**fields, "golden": tuple(fields["golden"])})
