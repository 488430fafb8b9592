"""Which files lie at an address, by the names they have within it. Nothing of them is read."""

import difflib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from glob import glob
from pathlib import Path

from infra.store.errors import InputError
from infra.store.protocol import Store
from llm.data.config import PYTHON_STDLIB
from llm.data.reading.address import GRAMMAR, LocalAddress, StoreAddress
from llm.data.reading.formats import SUPPORTED, format_of


@dataclass(frozen=True)
class Listing:
    """locations: paths or addresses of the supported files, by printable names in their order. skipped: how many others, by suffix.

    single: the address names this one file, which then has to be readable.
    """

    locations: dict[str, str]
    skipped: Counter[str]
    single: bool
    where: str


def list_local(address: LocalAddress, path: str) -> Listing:
    """A file, the files of a folder or those that match a pattern, hidden ones left out. Raises InputError; `path` is as given."""
    root, skipped = address.root, Counter[str]()
    if address.pattern:
        matching = glob(address.pattern, root_dir=root, recursive=True)  # noqa: PTH207 - Path.glob gives hidden files too
        names = [name for name in matching if (root / name).is_file()]
        if not names:
            raise InputError("no file matches", where=path, mend="Check the pattern; ** stands for folders within folders.")
        return _listing({name: str(root / name) for name in names}, skipped, str(root / address.pattern))
    _check_exists(root, path)
    if not root.is_file():
        return _listing({name: str(root / name) for name in _walk(root, skipped)}, skipped, str(root))
    if not format_of(root.name)[0]:
        raise InputError("not a kind of file that is read here", where=str(root), mend=f"Supported are {SUPPORTED}.")
    return _listing({root.name: str(root)}, skipped, str(root), single=True)


def list_store(store: Store, address: StoreAddress) -> Listing:
    """An object, all under a prefix, or those under it that match a pattern. Raises InputError where there is none, StoreError."""
    single = not address.pattern and bool(address.name) and store.exists(address.name)
    if single:
        names = {address.name.rpartition("/")[2]: address.name}
    else:
        top = len(address.name) + 1 if address.name else 0
        names = {entry.name[top:]: entry.name for entry in store.list(address.name)}
    hidden = [name for name in names if any(part.startswith(".") for part in name.split("/"))]
    for name in hidden:
        del names[name]
    if address.pattern:
        names = {name: key for name, key in names.items() if _matches(name.split("/"), address.pattern.split("/"))}
    if not names:
        raise InputError("nothing is there", where=str(address), mend="Check the bucket, the prefix and the pattern.")
    return _listing({name: f"{store.url}/{key}" for name, key in names.items()}, Counter(), str(address), single=single)


def _listing(names: dict[str, str], skipped: Counter[str], where: str, *, single: bool = False) -> Listing:
    locations = {}
    for name in sorted(names, key=_printable):
        if format_of(name)[0]:
            locations[_printable(name)] = names[name]
        else:
            skipped[Path(name).suffix.lower() or "without suffix"] += 1
    return Listing(locations, skipped, single, where)


def _check_exists(root: Path, path: str) -> None:
    try:
        if root.is_file() or root.is_dir():
            return
        if root.exists():
            raise InputError("neither a file nor a folder", where=path, mend=f"Give {GRAMMAR}.")
        beside = [entry.name for entry in root.parent.iterdir()] if root.parent.is_dir() else []
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where=path, mend="Check the path and its permissions.") from None
    near = difflib.get_close_matches(root.name, [*beside, PYTHON_STDLIB], 1)
    hint = f"Did you mean {near[0]}? " if near else ""
    raise InputError("no such file or folder", where=path, mend=f"{hint}Give {GRAMMAR}.")


def _walk(root: Path, skipped: Counter[str]) -> Iterator[str]:
    for folder, folders, names in os.walk(root, onerror=_unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        skipped["linked folder"] += sum(Path(folder, name).is_symlink() for name in folders)
        for path in (Path(folder, name) for name in names if not name.startswith(".")):
            if path.is_file():
                yield path.relative_to(root).as_posix()
            else:
                skipped["not a file"] += 1


def _unreadable(error: OSError) -> None:
    raise InputError(f"cannot be read ({error.strerror})", where=str(error.filename), mend="Check its permissions.")


def _matches(parts: Sequence[str], wanted: Sequence[str]) -> bool:
    """As a shell's pattern: * within one folder, ** for any number of them."""
    if not wanted:
        return not parts
    if wanted[0] == "**":
        return _matches(parts, wanted[1:]) or (bool(parts) and _matches(parts[1:], wanted))
    return bool(parts) and fnmatchcase(parts[0], wanted[0]) and _matches(parts[1:], wanted[1:])


def _printable(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "backslashreplace")  # a name need not be UTF-8, a manifest is
