"""What a step made of the machine: the share of the GPUs' peak, and memory."""

from dataclasses import dataclass
from resource import RUSAGE_SELF, getrusage
from typing import Self

import torch

from llm.training.gpus import of_device
from llm.training.numerics import Numerics


@dataclass(frozen=True)
class Gauge:
    """Read after each step, in microseconds, by the first of `workers`.

    flops_per_token: of the model, forward and backward, nothing counted that is computed again; 0 where nobody knows.
    peak: FLOPs a second of one worker's GPU, dense in bf16, whatever the step computes in; 0 where it is not known.
    """

    flops_per_token: int
    peak: float
    workers: int
    cuda: bool

    @classmethod
    def of(cls, flops_per_token: int, numerics: Numerics, workers: int) -> Self:
        cuda = numerics.device == "cuda"
        known = of_device(torch.cuda.get_device_name()) if cuda and numerics.precision != "fp32" else None
        return cls(flops_per_token, known.flops if known else 0.0, workers, cuda)

    def mfu(self, tokens: int, seconds: float) -> float | None:
        """Model FLOPs utilisation (Chowdhery et al., 2022) of a step; None where the FLOPs or the peak are not known."""
        if not (self.flops_per_token and self.peak):
            return None
        return self.flops_per_token * tokens / seconds / (self.peak * self.workers)

    def memory(self) -> int:
        """Bytes at the peak so far: torch's tensors on a GPU, else the whole process."""
        if not self.cuda:
            return getrusage(RUSAGE_SELF).ru_maxrss * 1024
        stats = torch.cuda.memory_stats_as_nested_dict()  # max_memory_allocated flattens all of it first
        return int(stats["allocated_bytes"]["all"]["peak"]) if stats else 0
