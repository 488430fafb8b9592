"""Safetensors files as they lie on disk: where each tensor's bytes are, and many files made one, byte by byte.

No weight is ever read into memory here, so that a model of any size is brought in on any machine.
"""

import json
import os
import shutil
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, Final

from infra.store.errors import DamagedError, InputError

ONE, INDEX = "model.safetensors", "model.safetensors.index.json"
_HEADER_LIMIT: Final = 100_000_000  # bytes, as the format says
_PIECE: Final = 16 << 20
WIDTHS: Final = {
    "F64": 8,
    "I64": 8,
    "F32": 4,
    "I32": 4,
    "F16": 2,
    "BF16": 2,
    "I16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "U8": 1,
    "I8": 1,
    "BOOL": 1,
}
"""Bytes of one value of each dtype."""


@dataclass(frozen=True)
class Slot:
    """One tensor in a file: `bytes` from `start` on, counted from the file's beginning."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    bytes: int


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a Hugging Face folder: the one, or the shards of its index. Raises InputError, DamagedError."""
    if (one := folder / ONE).is_file():
        return [one]
    index = folder / INDEX
    if not index.is_file():
        raise InputError("no weights", where=str(folder), mend=f"A model folder has {ONE}, or {INDEX} and its shards.")
    try:
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DamagedError("not an index of weights", where=str(index), mend="Fetch the model again.") from None
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise DamagedError(f"names {name!r}, which is no file beside it", where=str(index), mend="Fetch the model again.")
        if not (folder / name).is_file():
            raise InputError(
                f"the shard {name} is missing", where=str(folder), mend="Fetch the model again; what is there is kept."
            )
    return [folder / name for name in names]


def slots(paths: Iterable[Path]) -> dict[str, Slot]:
    """Every tensor of the files by name, from their headers alone. Raises DamagedError for a file that is cut or not one."""
    found: dict[str, Slot] = {}
    for path in paths:
        for name, slot in _slots_of(path):
            if name in found:
                raise DamagedError(f"{name} is also in {found[name].path.name}", where=str(path), mend="Fetch the model again.")
            found[name] = slot
    return found


def join(folder: Path, target: Path) -> None:
    """All weights of a Hugging Face folder as the one file `target`: copied where they are one, else strung together.

    The result depends on the weights alone, not on how they were cut into shards.
    """
    paths = weight_files(folder)
    if len(paths) == 1 and paths[0].name == ONE:
        slots(paths)  # a file that was cut is named here, not where a tensor is missed
        shutil.copyfile(paths[0], target)
        return
    found = slots(paths)
    plan = [(name, found[name].dtype, found[name].shape) for name in sorted(found)]
    with target.open("wb") as out:
        out.write(header(plan))
        for name in sorted(found):
            _copy(found[name], out)


def header(tensors: Sequence[tuple[str, str, Sequence[int]]]) -> bytes:
    """How a safetensors file begins whose tensors (name, dtype, shape) follow each other in this order."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, dtype, shape in tensors:
        start, end = end, end + prod(shape) * WIDTHS[dtype]
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _slots_of(path: Path) -> Iterator[tuple[str, Slot]]:
    whole = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else whole
        text = file.read(length) if length <= min(whole - 8, _HEADER_LIMIT) else b""
    try:
        entries: Mapping[str, Mapping[str, Any]] = json.loads(text)
        read = [_slot(path, name, entry, 8 + length) for name, entry in entries.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DamagedError("not whole, or no safetensors file", where=str(path), mend="Fetch the model again.") from None
    end = max([8 + length, *(slot.start + slot.bytes for _, slot in read)])
    if end > whole:
        raise DamagedError(f"cut off: {whole:,} of {end:,} bytes", where=str(path), mend="Fetch the model again.")
    yield from read


def _slot(path: Path, name: str, entry: Mapping[str, Any], offset: int) -> tuple[str, Slot]:
    dtype, shape = str(entry["dtype"]), tuple(int(size) for size in entry["shape"])
    start, end = (int(place) for place in entry["data_offsets"])
    if dtype not in WIDTHS or end - start != prod(shape) * WIDTHS[dtype] or start < 0:
        raise ValueError
    return name, Slot(path, dtype, shape, offset + start, end - start)


def _copy(slot: Slot, out: BinaryIO) -> None:
    with slot.path.open("rb") as file:
        out.flush()
        left, at = slot.bytes, slot.start
        while left:  # inside the kernel, where the file system can
            sent = os.sendfile(out.fileno(), file.fileno(), at, min(left, _PIECE))
            left, at = left - sent, at + sent
