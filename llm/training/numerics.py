"""How the arithmetic is done: decided once when a run starts, recorded, the same after every resume."""

import importlib.util
import os
import platform
import shutil
import sysconfig
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, Self

import torch

from infra.store.errors import InputError
from llm.training.config import Compile, OptimizerName, Precision
from llm.training.loss import LOGITS_AT_ONCE

# Sustained in training: two cores of an EPYC made 130 GFLOP/s in fp32 and 240 in bf16. The GPU's is an assumption (a third of an
# H100's 989 TFLOP/s). Only whether to compile hangs on them.
_FLOPS_PER_SECOND: Final = {"fp32": 65e9, "bf16": 120e9}  # of each thread
_GPU_FLOPS_PER_SECOND: Final = 330e12
# (seconds that compiling takes, share of the time that it saves later): llama-14m on two cores; the GPU's are assumptions.
_COMPILING: Final = {"cpu": (20.0, 0.08), "cuda": (60.0, 0.25)}
_SURELY: Final = 2.0  # the saving has to be so many times the cost: both are estimates


@dataclass(frozen=True)
class Numerics:
    """What can change the bits of a loss without changing the recipe."""

    device: Literal["cpu", "cuda"]
    precision: Literal["fp32", "bf16", "fp8"]
    attention: Literal["sdpa", "blockwise"]
    compile: bool
    optimizer: OptimizerName
    threads: int
    reason: str
    logits_at_once: int = LOGITS_AT_ONCE

    @classmethod
    def decide(
        cls,
        precision: Precision,
        optimizer: OptimizerName = "adamw",
        *,
        compile: Compile = "never",  # noqa: A002
        flops: float = 0.0,
    ) -> Self:
        """For this machine.

        precision: `auto` takes bf16 where it was measured to be faster: on CUDA, and on CPUs with bf16 instructions.
        compile: `auto` compiles where the whole run, of so many FLOPs, is long enough to win more than compiling costs.
        Raises InputError where float8 or compiling is asked for and cannot be had.
        """
        device = fastest_device()
        chosen, why = _precision(precision, device)
        compiled, why_compiled = _compile(compile, device, chosen, flops)
        attention = _attention(device, chosen)
        return cls(device, chosen, attention, compiled, optimizer, torch.get_num_threads(), f"{why}; {why_compiled}")

    @classmethod
    def recorded(cls, document: dict[str, Any], stage: str) -> Self:
        """The numerics of a stage's earlier attempt, to go on with. Raises InputError where this machine or version cannot."""
        over = f"or start over with --force {stage}."
        if set(document) != {field.name for field in fields(cls)}:
            raise InputError("the run was begun by another version", where="numerics", mend=f"Go on with that one, {over}")
        numerics = cls(**document)
        if numerics.device == "cuda" and not torch.cuda.is_available():
            raise InputError(
                "the run began on a CUDA device, this machine has none", where="numerics", mend=f"Resume it on a GPU, {over}"
            )
        if numerics.precision == "fp8" and (lacking := no_float8()):
            raise InputError(f"the run began with float8: {lacking}", where="numerics", mend=f"Resume it on such a GPU, {over}")
        if numerics.compile and (lacking := no_compiler(numerics.device)):
            raise InputError(f"the run began compiled: {lacking}", where="numerics", mend=f"Install it, {over}")
        if numerics.attention != (ours := _attention(numerics.device, numerics.precision)):
            raise InputError(
                f"the run began with {numerics.attention} attention, this version's is {ours}",
                where="numerics",
                mend=f"Go on with that version, {over}",
            )
        if numerics.logits_at_once != LOGITS_AT_ONCE:
            raise InputError(
                f"the run began with {numerics.logits_at_once} logits at once, this version makes {LOGITS_AT_ONCE}",
                where="numerics",
                mend=f"Go on with that version, {over}",
            )
        return numerics

    def apply(self, workers: int = 1) -> None:
        """Sets what is set for the whole process, one of `workers` that share the threads of a machine."""
        torch.set_num_threads(max(1, self.threads // workers))
        torch.set_float32_matmul_precision("highest" if self.precision == "fp32" else "high")
        if self.compile and (found := _cpp_compiler()):
            os.environ.setdefault("CXX", found)  # torch looks for g++ alone

    def autocast(self) -> AbstractContextManager[Any]:
        """The context for a forward pass: bf16 matrix products over fp32 weights, or nothing."""
        return nullcontext() if self.precision == "fp32" else torch.autocast(self.device, dtype=torch.bfloat16)

    def document(self) -> dict[str, Any]:
        return asdict(self)


def fastest_device() -> Literal["cpu", "cuda"]:
    """Where a model is put when nothing was recorded."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def _precision(asked: Precision, device: str) -> tuple[Literal["fp32", "bf16", "fp8"], str]:
    if asked == "fp8" and (lacking := no_float8()):
        raise InputError(lacking, where="training.precision", mend="Set it to bf16, or to auto.")
    if asked != "auto":
        return asked, f"{asked}: the recipe says so"
    fast = device == "cuda" or "avx512_bf16" in _cpu_flags() or "amx_bf16" in _cpu_flags()
    chosen: Literal["fp32", "bf16"] = "bf16" if fast else "fp32"
    return chosen, f"{chosen}: this {device} {'has' if fast else 'has no'} bf16 instructions"


def _attention(device: str, precision: str) -> Literal["sdpa", "blockwise"]:
    """Torch's kernel, or ours; `llm.models.blockwise.blocks_pay` tells which by the tensors themselves."""
    return "blockwise" if device == "cpu" and precision == "bf16" else "sdpa"


def _compile(asked: Compile, device: Literal["cpu", "cuda"], precision: str, flops: float) -> tuple[bool, str]:
    lacking = no_compiler(device)
    if asked == "always" and lacking:
        raise InputError(lacking, where="training.compile", mend="Install it, or set this to auto.")
    if asked == "always":
        return True, "compiled: the recipe says so"
    if asked == "never" or not flops:
        return False, "eager"
    speed = _GPU_FLOPS_PER_SECOND if device == "cuda" else _FLOPS_PER_SECOND[precision] * torch.get_num_threads()
    cost, share = _COMPILING[device]
    saved = share * flops / speed
    estimate = f"compiling costs about {cost:.0f} s and would save {saved:,.0f} s"
    if saved < _SURELY * cost:
        return False, f"eager: {estimate}"
    if lacking:
        return False, f"eager: {lacking}, though {estimate}"
    return True, f"compiled: {estimate}"


def no_float8() -> str:
    """What this machine lacks for float8, or nothing."""
    if torch.cuda.is_available() and torch.cuda.get_device_capability() >= (9, 0):
        return ""
    return "float8 needs a GPU of compute capability 9.0 (Hopper) or later, this machine has none"


def no_compiler(device: Literal["cpu", "cuda"]) -> str:
    """What this machine lacks for torch.compile, or nothing. Looks without loading torch's compiler, which takes 4 s."""
    if device == "cuda" and importlib.util.find_spec("triton") is None:
        return "triton is not installed, which compiling for a GPU needs"
    if _cpp_compiler() is None:
        return "no C++ compiler is installed (CXX, g++, c++), which compiling needs"
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return "Python's headers (Python.h) are not installed, which compiling needs"
    return ""


def _cpp_compiler() -> str | None:
    named = os.environ.get("CXX")
    return shutil.which(named) if named else shutil.which("g++") or shutil.which("c++")


def _cpu_flags() -> frozenset[str]:
    info = Path("/proc/cpuinfo")
    if platform.machine() != "x86_64" or not info.exists():
        return frozenset()
    flags = next((line for line in info.read_text().splitlines() if line.startswith("flags")), "")
    return frozenset(flags.split())
