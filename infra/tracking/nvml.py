"""GPUs as NVIDIA's driver sees them, by the library that comes with it (NVML): no package of ours, nothing without a driver."""

import ctypes
from dataclasses import dataclass
from typing import Final

_LIBRARY: Final = "libnvidia-ml.so.1"


@dataclass(frozen=True)
class Reading:
    """`busy` in percent of the last moment, `memory` in bytes in use by all processes, `watts` drawn."""

    busy: float
    memory: float
    watts: float


class _Utilization(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class NVML:
    """All GPUs of this machine. Raises OSError where the driver says no."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._call("nvmlInit_v2")
        count = ctypes.c_uint()
        self._call("nvmlDeviceGetCount_v2", ctypes.byref(count))
        self._gpus = [self._handle(index) for index in range(count.value)]

    def read(self) -> list[Reading]:
        """By their index; what a GPU does not tell, as a slice of one does not, is 0."""
        return [self._read(gpu) for gpu in self._gpus]

    def _handle(self, index: int) -> ctypes.c_void_p:
        handle = ctypes.c_void_p()
        self._call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(handle))
        return handle

    def _read(self, gpu: ctypes.c_void_p) -> Reading:
        use, memory, milliwatts = _Utilization(), _Memory(), ctypes.c_uint()
        self._library.nvmlDeviceGetUtilizationRates(gpu, ctypes.byref(use))
        self._call("nvmlDeviceGetMemoryInfo", gpu, ctypes.byref(memory))
        self._library.nvmlDeviceGetPowerUsage(gpu, ctypes.byref(milliwatts))
        return Reading(float(use.gpu), float(memory.used), milliwatts.value / 1000)

    def _call(self, name: str, *arguments: object) -> None:
        code = getattr(self._library, name)(*arguments)
        if code:
            raise OSError(f"{name} answers {code}")


def open_nvml() -> NVML | None:
    """None on a machine without NVIDIA's driver, or with one that does not answer."""
    try:
        return NVML(ctypes.CDLL(_LIBRARY))
    except OSError:
        return None
