"""What the machine does while a run works: processor, memory and GPUs, sampled now and then into the run's spool.

The names are those of MLflow's own system metrics, so that its page shows them in their place; each sample is a step there.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

import psutil
import pynvml

from infra.tracking.spool import Spool

_SECONDS: Final = 10.0
_SHARE: Final = 250  # of a long run's time until now: two weeks make less than 2,000 samples
_MB: Final = 1e6
_OF_A_GPU: Final[Mapping[str, Callable[[Any], float]]] = {
    "utilization_percentage": lambda gpu: pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu,
    "memory_usage_megabytes": lambda gpu: pynvml.nvmlDeviceGetMemoryInfo(gpu).used / _MB,
    "power_usage_watts": lambda gpu: pynvml.nvmlDeviceGetPowerUsage(gpu) / 1000,
}


class Sampler:
    """For the length of its block, in a thread of its own; once more at its end, so that a short run has a sample too."""

    def __init__(self, spool: Spool, *, seconds: float = _SECONDS) -> None:
        self._spool, self._seconds = spool, seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"system metrics of {spool.run}", daemon=True)
        self._process, self._count = psutil.Process(), 0

    def __enter__(self) -> Self:
        psutil.cpu_percent()  # from now on
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _keep(self) -> None:
        gpus = _gpus()
        began = time.monotonic()
        while not self._ended.wait(max(self._seconds, (time.monotonic() - began) / _SHARE)):
            self._sample(gpus)
        self._sample(gpus)

    def _sample(self, gpus: Sequence[Any]) -> None:
        memory = psutil.virtual_memory()
        values = {
            "system/cpu_utilization_percentage": psutil.cpu_percent(),
            "system/system_memory_usage_megabytes": memory.used / _MB,
            "system/system_memory_usage_percentage": memory.percent,
            "system/process_memory_megabytes": self._process.memory_info().rss / _MB,
        }
        for index, gpu in enumerate(gpus):
            for name, read in _OF_A_GPU.items():
                with suppress(pynvml.NVMLError):  # a slice of a GPU does not tell all; one that fell off the bus, nothing
                    values[f"system/gpu_{index}_{name}"] = read(gpu)
        self._spool.metrics(self._count, values)
        self._count += 1


def _gpus() -> list[Any]:
    """What NVIDIA's driver calls the machine's GPUs; none without a driver, or with one that does not answer."""
    try:
        pynvml.nvmlInit()
        return [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []
