"""Over which of a machine's network interfaces its workers speak with the others."""

import os
from typing import Final

import psutil

_VARIABLE: Final = "GLOO_SOCKET_IFNAME"


def speak_from(address: str) -> None:
    """Has gloo use the interface that has this address, unless the environment names one.

    Left alone, it takes the address that the machine's own name leads to, which on Debian is a loopback address: on several
    machines each would wait there for the others.
    """
    if os.environ.get(_VARIABLE):
        return
    for name, addresses in psutil.net_if_addrs().items():
        if any(each.address == address for each in addresses):
            os.environ[_VARIABLE] = name
