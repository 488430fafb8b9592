"""What the machine does while a run works: processor, memory and GPUs, sampled now and then into the run's spool.

The names are those of MLflow's own system metrics, so that its page shows them in their place; each sample is a step there.
"""

import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

import psutil

from infra.tracking.nvml import NVML, open_nvml
from infra.tracking.spool import Spool

_SECONDS: Final = 10.0
_SHARE: Final = 250  # of a long run's time until now: two weeks make less than 2,000 samples
_MB: Final = 1e6


class Sampler:
    """For the length of its block, in a thread of its own; once more at its end, so that a short run has a sample too."""

    def __init__(self, spool: Spool, *, seconds: float = _SECONDS) -> None:
        self._spool, self._seconds = spool, seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"system metrics of {spool.run}", daemon=True)
        self._process, self._count = psutil.Process(), 0
        self._nvml: NVML | None = None

    def __enter__(self) -> Self:
        psutil.cpu_percent()  # from now on
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _keep(self) -> None:
        self._nvml = open_nvml()
        began = time.monotonic()
        while not self._ended.wait(max(self._seconds, (time.monotonic() - began) / _SHARE)):
            self._sample()
        self._sample()

    def _sample(self) -> None:
        memory = psutil.virtual_memory()
        values = {
            "system/cpu_utilization_percentage": psutil.cpu_percent(),
            "system/system_memory_usage_megabytes": memory.used / _MB,
            "system/system_memory_usage_percentage": memory.percent,
            "system/process_memory_megabytes": self._process.memory_info().rss / _MB,
        }
        if self._nvml is not None:
            with suppress(OSError):  # a GPU that fell off the bus: training will say so
                for index, gpu in enumerate(self._nvml.read()):
                    values |= {
                        f"system/gpu_{index}_utilization_percentage": gpu.busy,
                        f"system/gpu_{index}_memory_usage_megabytes": gpu.memory / _MB,
                        f"system/gpu_{index}_power_usage_watts": gpu.watts,
                    }
        self._spool.metrics(self._count, values)
        self._count += 1
