"""How the arithmetic is done: decided once when a run starts, recorded, the same after every resume."""

import platform
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

import torch

from infra.store.errors import InputError
from llm.training.config import OptimizerName


@dataclass(frozen=True)
class Numerics:
    """What can change the bits of a loss without changing the recipe."""

    device: Literal["cpu", "cuda"]
    precision: Literal["fp32", "bf16"]
    attention: Literal["sdpa"]
    compile: bool
    optimizer: OptimizerName
    threads: int
    reason: str

    @classmethod
    def decide(cls, precision: Literal["auto", "fp32", "bf16"], optimizer: OptimizerName = "adamw") -> Self:
        """For this machine. `auto` takes bf16 where it was measured to be faster: on CUDA, and on CPUs with bf16 instructions."""
        device = fastest_device()
        fast = device == "cuda" or "avx512_bf16" in _cpu_flags() or "amx_bf16" in _cpu_flags()
        if precision == "auto":
            chosen: Literal["fp32", "bf16"] = "bf16" if fast else "fp32"
            reason = f"{chosen}: this {device} {'has' if fast else 'has no'} bf16 instructions"
        else:
            chosen, reason = precision, f"{precision}: the recipe says so"
        return cls(device, chosen, "sdpa", False, optimizer, torch.get_num_threads(), reason)

    @classmethod
    def recorded(cls, document: dict[str, Any], stage: str) -> Self:
        """The numerics of a stage's earlier attempt, to go on with. Raises InputError where this machine cannot."""
        numerics = cls(**document)
        if numerics.device == "cuda" and not torch.cuda.is_available():
            raise InputError(
                "the run began on a CUDA device, this machine has none",
                where="numerics",
                mend=f"Resume it on a GPU, or start over with --force {stage}.",
            )
        return numerics

    def apply(self, workers: int = 1) -> None:
        """Sets what is set for the whole process, one of `workers` that share the threads of a machine."""
        torch.set_num_threads(max(1, self.threads // workers))
        torch.set_float32_matmul_precision("highest" if self.precision == "fp32" else "high")

    def autocast(self) -> AbstractContextManager[Any]:
        """The context for a forward pass: bf16 matrix products over fp32 weights, or nothing."""
        return torch.autocast(self.device, dtype=torch.bfloat16) if self.precision == "bf16" else nullcontext()

    def document(self) -> dict[str, Any]:
        return asdict(self)


def fastest_device() -> Literal["cpu", "cuda"]:
    """Where a model is put when nothing was recorded."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def _cpu_flags() -> frozenset[str]:
    info = Path("/proc/cpuinfo")
    if platform.machine() != "x86_64" or not info.exists():
        return frozenset()
    flags = next((line for line in info.read_text().splitlines() if line.startswith("flags")), "")
    return frozenset(flags.split())
