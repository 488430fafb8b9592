"""How targets are called."""

import re
from typing import Final

from infra.store.errors import InputError

_NAME: Final = re.compile(r"local(-[a-z0-9]+)*")
MEND: Final = "Targets are `local`, and `local-NAME` for further ones on this machine."


def is_target(name: str) -> bool:
    return bool(_NAME.fullmatch(name))


def checked(name: str) -> str:
    """The name itself, or InputError."""
    if not is_target(name):
        raise InputError("no such target", where=name, mend=MEND)
    return name
