"""Batches read ahead of the step that takes them, in a thread of their own: training does not wait for the disk."""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import TracebackType
from typing import Final, Self

import torch
from torch import Tensor

_AHEAD: Final = 2  # batches: one that is ready while the next is read; more would only take memory


class Prefetch:
    """Within its block, `take` gives what `read` makes of a step, on `device`: of any first, then of each next one below `steps`.

    At most `ahead` batches wait to be taken. For a GPU they wait in pinned memory, from where the copy runs beside the
    computation. An error of `read` is raised by `take`, at the step that it belongs to. The end of the block ends the thread.
    """

    def __init__(self, read: Callable[[int], Tensor], steps: int, device: torch.device, *, ahead: int = _AHEAD) -> None:
        self._read, self._steps, self._device = read, steps, device
        self._gpu = torch.cuda.current_device() if device.type == "cuda" else None
        self._ready: SimpleQueue[tuple[int, Tensor | BaseException]] = SimpleQueue()
        self._room = threading.Semaphore(ahead)
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._room.release()
        if self._thread is not None:
            self._thread.join()

    def take(self, step: int) -> Tensor:
        """The batch of `step` (from 0)."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep, args=(step,), name="prefetch", daemon=True)
            self._thread.start()
        found, batch = self._ready.get()
        if isinstance(batch, BaseException):
            self._ready.put((found, batch))  # who takes again hears it again, and does not wait for ever
            raise batch
        assert found == step, f"step {step} is asked for, {found} is next"
        self._room.release()
        return batch.to(self._device, non_blocking=True)

    def _keep(self, first: int) -> None:
        step = first
        try:
            if self._gpu is not None:
                torch.cuda.set_device(self._gpu)  # a new thread stands on the first GPU, whichever worker it belongs to
            for step in range(first, self._steps):
                self._room.acquire()
                if self._ended.is_set():
                    return
                batch = self._read(step)
                self._ready.put((step, batch if self._gpu is None else batch.pin_memory()))
            raise IndexError(f"there are {self._steps} steps")
        except BaseException as error:  # raised where somebody sees it
            self._ready.put((step, error))
