"""Which Slipway is installed here: machines that work on one thing must run the same."""

import hashlib
import socket
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

from infra.store.errors import InputError

_ROOT: Final = Path(__file__).parents[2]
_ROOMS: Final = ("flows", "infra", "llm")


@cache
def installed() -> str:
    """A hash over all sources of what trains, checks data and keeps it: a checkout and the wheel made of it have the same."""
    total = hashlib.sha256()
    for path in sorted(path for room in _ROOMS for path in (_ROOT / room).rglob("*.py")):
        total.update(f"{path.relative_to(_ROOT).as_posix()}\0".encode() + path.read_bytes())
    return total.hexdigest()[:12]


def check_installed(wanted: str) -> None:
    """Raises InputError unless what is installed here is `wanted`, which is `installed()` of another machine."""
    if installed() != wanted:
        raise not_ours([socket.gethostname()])


def not_ours(hosts: Sequence[str]) -> InputError:
    """The error for machines that run another Slipway than this run, or none."""
    return InputError(
        "the cluster's machines must run the Slipway that starts the run, and here is another one, or none",
        where=", ".join(hosts),
        mend="Install the same wheel there, or start their containers from the same image.",
    )
