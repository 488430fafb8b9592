"""Preemption: a training that is asked to stop (SIGTERM) ends after the step it is at, with a checkpoint of it.

`ask` says it from anywhere in the process; the loop looks after each step, and all workers stop at the same one as soon as one of
them was asked. Loads without torch.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from infra.store.errors import SlipwayError

_ASKED: Final = threading.Event()


class StoppedError(SlipwayError):
    """Nothing failed: the training was asked to stop, and can go on."""

    code = "interrupted"
    exit_code = 130


def ask() -> None:
    """The training in this process is to stop after its step. Safe in a signal's handler, and from any thread."""
    _ASKED.set()


def asked() -> bool:
    return _ASKED.is_set()


@contextmanager
def on_sigterm() -> Iterator[None]:
    """For the length of the block SIGTERM asks, once, and ends nothing; begins and ends with nobody having asked.

    Signals belong to a process's main thread: in another one, such as that of a Ray worker, somebody has to call `ask`.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, before)  # a second one is for whoever heard them before
        ask()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _ASKED.clear()
    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        _ASKED.clear()
