"""How much memory a real training step takes on this machine, at its highest: what the plan's estimate is held against.

On a CPU the bytes of all tensors that are alive are counted at every operation. That is the same in each run, where the
process's own memory depends on what its allocator keeps: for llama-14m at 8 x 256 in fp32 the count was 519 MB, torch's
profiler saw 519 MB and the process grew by 570 MB. A GPU's allocator keeps the count itself.
"""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_bytes(action: Callable[[], object], device: torch.device) -> int:
    """The most bytes of tensors alive at once that `action` has made, beside those that were there before it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        action()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with _Alive() as alive:
        action()
    return alive.peak


def bytes_of(tensors: Any) -> int:
    """Of all tensors within, each storage once."""
    storages = {leaf.untyped_storage()._cdata: leaf.untyped_storage().nbytes() for leaf in tree_leaves(tensors) if _is(leaf)}
    return sum(storages.values())


class _Alive(TorchDispatchMode):
    """Counts storages from the operation that makes them to the end of their last reference."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if _is(leaf)}
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if _is(leaf) and (storage := leaf.untyped_storage())._cdata not in given | self._known:
                self._known.add(storage._cdata)
                self.now += storage.nbytes()
                weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return result

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def _is(leaf: Any) -> bool:
    return isinstance(leaf, Tensor)
