"""The grammar of sources: one string says where rows come from."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from infra.store.errors import InputError
from llm.data.config import PYTHON_STDLIB

GRAMMAR: Final = (
    f"a file, a folder or a pattern such as data/*.jsonl.gz; s3://bucket/prefix; hf://owner/name[@revision][:config][#split]; "
    f"{PYTHON_STDLIB}"
)
_GLOB: Final = re.compile(r"[*?\[]")
_HUB: Final = re.compile(
    r"(?P<name>[\w.-]+(?:/[\w.-]+)?|/[^@:#]+)(?:@(?P<revision>[^:#]+))?(?::(?P<config>[^#]+))?(?:#(?P<split>.+))?"
)


@dataclass(frozen=True)
class LocalAddress:
    """A file or folder, or a glob under a folder (`pattern`, relative to `root`)."""

    root: Path
    pattern: str = ""


@dataclass(frozen=True)
class StoreAddress:
    """An object, or a prefix of objects, of a bucket; or a glob under a prefix."""

    store: str  # s3://bucket
    name: str
    pattern: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.store, self.name, self.pattern) if part)


@dataclass(frozen=True)
class HubAddress:
    """A data set of the Hugging Face hub, or a local folder of the same layout (an absolute `name`)."""

    name: str
    revision: str = ""
    config: str = ""
    split: str = ""

    @property
    def local(self) -> bool:
        return self.name.startswith("/")

    def __str__(self) -> str:
        marked = zip(("@", ":", "#"), (self.revision, self.config, self.split), strict=True)
        return f"hf://{self.name}" + "".join(mark + part for mark, part in marked if part)


Address = LocalAddress | StoreAddress | HubAddress | Literal["python-stdlib"]


def parse_address(path: str) -> Address:
    """What `path` names; nothing is looked up but whether a local path exists as it stands. Raises InputError."""
    if not path:
        raise InputError("no source is named", where="data.path", mend=f"Give {GRAMMAR}.")
    if path == PYTHON_STDLIB:
        return "python-stdlib"
    scheme, mark, rest = path.partition("://")
    if not mark:
        return _local(path)
    if scheme == "s3":
        return _store(rest, path)
    if scheme == "hf":
        return _hub(rest, path)
    raise InputError(f"no source is known for {scheme}://", where=path, mend=f"Give {GRAMMAR}.")


def _local(path: str) -> LocalAddress:
    root = Path(path).expanduser().absolute()
    if not _GLOB.search(path) or _exists(root):  # a file may be called [a].txt
        return LocalAddress(root)
    fixed, pattern = _split_glob(root.as_posix())
    return LocalAddress(Path(fixed or "/"), pattern)


def _store(rest: str, path: str) -> StoreAddress:
    bucket, _, key = rest.partition("/")
    if not bucket:
        raise InputError("no bucket is named", where=path, mend="Give s3://bucket/prefix.")
    fixed, pattern = _split_glob(key.strip("/")) if _GLOB.search(key) else (key.strip("/"), "")
    return StoreAddress(f"s3://{bucket}", re.sub("/+", "/", fixed), pattern)


def _hub(rest: str, path: str) -> HubAddress:
    match = _HUB.fullmatch(rest)
    if match is None:
        mend = "Give hf://owner/name[@revision][:config][#split], or hf:///folder with the folder's absolute path."
        raise InputError("not the address of a data set", where=path, mend=mend)
    return HubAddress(**{part: value or "" for part, value in match.groupdict().items()})


def _split_glob(path: str) -> tuple[str, str]:
    """The folders before the first one with a pattern in it, and the rest."""
    parts = path.split("/")
    first = next(index for index, part in enumerate(parts) if _GLOB.search(part))
    return "/".join(parts[:first]), "/".join(parts[first:])


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False
