"""Finished things: a folder of files in the store, made visible last by its manifest, checked before use."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from infra.store.errors import DamagedError, NotFoundError
from infra.store.fingerprint import fingerprint
from infra.store.protocol import Store

FORMAT = 1
MANIFEST = "manifest.json"
NOTHING: Mapping[str, Any] = MappingProxyType({})
_checked: dict[Path, tuple[int, int, str]] = {}  # (bytes, mtime in ns, sha256) of files this process has read through already


@dataclass(frozen=True)
class Thing:
    """A finished, immutable folder in the store. `facts` is what its manifest says beside the files."""

    store: Store
    prefix: str
    version: str
    files: Mapping[str, Mapping[str, Any]]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        return self.store.uri(self.prefix)

    def path(self, name: str) -> Path:
        """The local file, its sha256 checked. Raises DamagedError naming the file when it is not what the manifest says."""
        expected = self.files[name]["sha256"]
        path = self._local(name)
        if known_sha256(path) != expected and self.store.forget(f"{self.prefix}/{name}"):  # a copy: the original may be whole
            path = self._local(name)
        if (actual := known_sha256(path)) != expected:
            raise DamagedError(
                f"damaged: its sha256 is {actual[:12]}, its manifest says {expected[:12]}",
                where=self.place(name),
                mend=f"Put the file back from a copy, or remove the folder {self.place()} and run again to make it anew.",
            )
        return path

    def folder(self, *names: str, checked: bool = True) -> Path:
        """The local folder with these files of the thing, or with every one and its manifest.

        checked: by their sha256. Whoever loads the files and checks them itself may leave it out.
        """
        paths = {name: self.path(name) if checked else self._local(name) for name in names or self.files}
        if not names:
            self.store.get_file(f"{self.prefix}/{MANIFEST}")
        name, path = next(iter(paths.items()))
        return path.parents[len(Path(name).parts) - 1]

    def place(self, name: str = "") -> str:
        """Of the thing or of one of its files: a path in a folder, or an s3:// address. `infra.store.local_file` reads it."""
        return f"{self.store.url}/{self.prefix}/{name}".rstrip("/")

    def check(self) -> None:
        """Raises DamagedError unless every file is what the manifest says."""
        for name in self.files:
            self.path(name)

    def bytes(self) -> int:
        return sum(entry["bytes"] for entry in self.files.values())

    def _local(self, name: str) -> Path:
        try:
            return self.store.get_file(f"{self.prefix}/{name}", sha256=self.files[name]["sha256"])
        except NotFoundError as error:
            raise DamagedError(
                "missing, though its manifest names it",
                where=error.where,
                mend=f"Put it back from a copy, or remove the folder {self.place()} and run again to make it anew.",
            ) from None


def describe(folder: Path, pattern: str = "*") -> dict[str, dict[str, Any]]:
    """Every file under a local folder whose name is like `pattern`: its relative name, sha256 and bytes."""
    paths = sorted(path for path in folder.rglob(pattern) if path.is_file())
    return {path.relative_to(folder).as_posix(): {"sha256": known_sha256(path), "bytes": path.stat().st_size} for path in paths}


def content_version(files: Mapping[str, Mapping[str, Any]]) -> str:
    """A hash of content alone: the files' names and their sha256."""
    return fingerprint({name: entry["sha256"] for name, entry in files.items()})[:16]


def publish(
    store: Store,
    prefix: str,
    folder: Path,
    facts: Mapping[str, Any],
    *,
    version: str | None = None,
    beside: Mapping[str, Mapping[str, Any]] = NOTHING,
) -> Thing:
    """Moves a local folder into the store under `prefix` and makes it visible by writing its manifest last.

    The files leave `folder`. Publishing what is there already changes nothing. `version` defaults to the hash of the files.
    beside: files that others have put under `prefix` already, as `describe` tells of them.
    """
    own = describe(folder)
    files = {**beside, **own}
    version = version or content_version(files)
    if store.exists(f"{prefix}/{MANIFEST}"):
        present = find(store, prefix)
        if present is not None and present.version == version:
            return present
    for name in own:
        store.put_file(f"{prefix}/{name}", folder / name)
    document = {"format": FORMAT, "version": version, "files": files, "facts": dict(facts)}
    store.write(f"{prefix}/{MANIFEST}", json.dumps(document, indent=1, sort_keys=True).encode())
    return Thing(store, prefix, version, files, facts)


def find(store: Store, prefix: str) -> Thing | None:
    """The thing under `prefix`, or None when there is none or only half of one."""
    name = f"{prefix}/{MANIFEST}"
    try:
        document = json.loads(store.read(name))
        if document["format"] != FORMAT:
            raise DamagedError(
                f"written in format {document['format']}, this Slipway reads format {FORMAT}",
                where=store.uri(name),
                mend="Use the Slipway that wrote it, or a newer one.",
            )
        return Thing(store, prefix, document["version"], document["files"], document["facts"])
    except NotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise DamagedError(
            "damaged: not a manifest", where=store.uri(name), mend="Remove its folder and run again to make it anew."
        ) from None


def load(store: Store, prefix: str) -> Thing:
    """The thing under `prefix`; raises NotFoundError when there is none."""
    thing = find(store, prefix)
    if thing is None:
        raise NotFoundError("nothing is finished here", where=store.uri(prefix), mend="Run the stage that makes it.")
    return thing


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def known_sha256(path: Path) -> str:
    """The same; a file that this process has read through, and that has not changed since by size and time, is not read again."""
    stat = path.stat()
    known = _checked.get(path)
    if known is None or known[:2] != (stat.st_size, stat.st_mtime_ns):
        known = _checked[path] = (stat.st_size, stat.st_mtime_ns, sha256(path))
    return known[2]


def remember_sha256(path: Path, digest: str) -> None:
    """Spares this process reading a file whose sha256 it knows from making it."""
    stat = path.stat()
    _checked[path] = (stat.st_size, stat.st_mtime_ns, digest)
