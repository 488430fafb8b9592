"""Weights out of and into safetensors files, one after another: never more than a model and one weight of it in memory."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from infra.store.errors import DamagedError, InputError
from llm.models.hub_names import Weight, is_table, stored_name
from llm.models.weight_files import INDEX, ONE, Slot, header, slots, weight_files

_DTYPES: Final = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64"}


def read_weights(folder: Path, shapes: Mapping[Weight, Sequence[int]], tied_to: Mapping[str, str]) -> Iterator[tuple[str, Tensor]]:
    """Each weight under our name and in our shape, mapped from its file or, where it is stored turned, copied.

    tied_to: a stored name that may be left out, and the one that it must equal where it is not.
    Raises DamagedError naming a weight that is missing, of another shape, or left over, before anything is read.
    """
    found = slots(weight_files(folder))
    _check(folder, found, shapes, tied_to)
    for weight in shapes:
        slot_name = stored_name(weight.theirs, found)
        tensor = _read(found[slot_name].path, slot_name)
        yield weight.ours, tensor.t().contiguous() if weight.turned else tensor


def _check(folder: Path, found: Mapping[str, Slot], shapes: Mapping[Weight, Sequence[int]], tied_to: Mapping[str, str]) -> None:
    left = set(found)
    for weight, ours in shapes.items():
        name, shape = stored_name(weight.theirs, found), tuple(reversed(ours)) if weight.turned else tuple(ours)
        if name not in found:
            raise DamagedError(f"{weight.theirs} is missing", where=str(folder), mend="Fetch the model again.")
        slot = found[name]
        if slot.shape != shape:
            raise DamagedError(f"{name} has shape {slot.shape}, config.json says {shape}", where=str(slot.path))
        if slot.dtype not in _DTYPES.values():
            raise InputError(
                f"{name} is {slot.dtype}",
                where=str(slot.path),
                mend="Weights of 16 or 32 bits are read: name the model unquantised.",
            )
        left.discard(name)
    for name, twin in tied_to.items():
        if name in left:
            twin = stored_name(twin, found)
            if not torch.equal(_read(found[name].path, name), _read(found[twin].path, twin)):
                raise DamagedError(
                    f"{name} differs from {twin}, config.json says that they are one (tie_word_embeddings)",
                    where=str(folder),
                    mend="Set tie_word_embeddings to false if the output layer is one of its own.",
                )
            left.discard(name)
    if others := sorted(name for name in left if not is_table(name)):
        raise DamagedError(
            f"{others[0]} has no place in the model of config.json" + (f", nor have {len(others) - 1} more" if others[1:] else ""),
            where=str(found[others[0]].path),
        )


def _read(path: Path, name: str) -> Tensor:
    """The file is opened anew for each weight, so that what is mapped goes as soon as a weight was copied."""
    try:
        with safe_open(path, framework="pt") as file:
            tensor: Tensor = file.get_tensor(name)
            return tensor
    except SafetensorError as error:
        raise DamagedError(f"not whole ({error})", where=str(path), mend="Fetch the model again.") from None


def write_weights(folder: Path, named: Iterable[tuple[Weight, Tensor]], *, shard_bytes: int | None = None) -> str:
    """One file, or shards of `shard_bytes` at most with their index where they do not fit into one. Returns the dtype's name.

    A single weight above the limit makes a shard of its own.
    """
    weights = list(named)
    shards: list[list[tuple[Weight, Tensor]]] = [[]]
    room = shard_bytes
    for weight, tensor in weights:
        if room is not None and shard_bytes is not None:
            if tensor.nbytes > room and shards[-1]:
                shards.append([])
                room = shard_bytes
            room -= tensor.nbytes
        shards[-1].append((weight, tensor))
    if len(shards) == 1:
        _write(folder / ONE, shards[0])
    else:
        names = [f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)]
        for name, shard in zip(names, shards, strict=True):
            _write(folder / name, shard)
        places = {weight.theirs: name for name, shard in zip(names, shards, strict=True) for weight, _ in shard}
        total = {"total_size": sum(tensor.nbytes for _, tensor in weights)}
        (folder / INDEX).write_text(json.dumps({"metadata": total, "weight_map": places}, indent=2, sort_keys=True) + "\n")
    return str(weights[0][1].dtype).removeprefix("torch.")


def _write(path: Path, shard: Sequence[tuple[Weight, Tensor]]) -> None:
    plan = [
        (weight.theirs, _DTYPES[tensor.dtype], tuple(reversed(tensor.shape)) if weight.turned else tuple(tensor.shape))
        for weight, tensor in shard
    ]
    new = path.with_name(f".{path.name}.new")  # the weights may be mapped from the very file that is written
    with new.open("wb") as out:
        out.write(header(plan))
        for weight, tensor in shard:
            stored = tensor.detach().t() if weight.turned else tensor.detach()
            stored.contiguous().cpu().view(torch.uint8).numpy().tofile(out)
    new.replace(path)
