"""The GPUs that a plan knows: dense bf16 peak, memory, what share of the peak training reaches, what an hour costs.

Peaks are the makers' figures without sparsity, and for GeForce those with fp32 sums. Memory is what the driver reports. Loads
without torch.
"""

from dataclasses import dataclass
from typing import Final

from infra.store.errors import InputError

PRICES_AS_OF: Final = "October 2026"
_RUNPOD, _LAMBDA = "RunPod, on demand", "Lambda, on demand"
_GUESS: Final = "an assumption, no list looked up"
_H100_RUNS = "published: 39 % (torchtitan, Llama 3.1 8B on H100s, compiled) to 46 % (LLM Foundry, 7B)"
_A100_RUNS = "published: 45 % (LLM Foundry, GPT-2 124M on one A100), 52 % (TinyLlama 1.1B on 64)"
_ASSUMED = "an assumption: no published run at hand"


@dataclass(frozen=True)
class GPU:
    """`flops` a second in bf16, `memory` in bytes, `price` in US dollars an hour, `mfu` the share of `flops` that a run reaches."""

    name: str
    title: str
    flops: float
    memory: int
    mfu: float
    mfu_source: str
    price: float
    price_source: str

    @property
    def usable(self) -> int:
        """Memory that training may plan with: less the CUDA context and libraries, and what the allocator cannot fill."""
        return int((self.memory - _CONTEXT) * (1 - _FRAGMENTS))


_CONTEXT: Final = 1_200_000_000  # CUDA context, cuBLAS workspaces, NCCL buffers; an assumption
_FRAGMENTS: Final = 0.05  # of the rest; an assumption
_MiB: Final = 1 << 20

GPUS: Final[dict[str, GPU]] = {
    gpu.name: gpu
    for gpu in (
        GPU("rtx4090", "GeForce RTX 4090", 165.2e12, 24_564 * _MiB, 0.40, _ASSUMED, 0.69, _GUESS),
        GPU("l4", "L4", 121e12, 23_034 * _MiB, 0.35, _ASSUMED, 0.39, _GUESS),
        GPU("l40s", "L40S", 362e12, 46_068 * _MiB, 0.35, _ASSUMED, 0.99, _GUESS),
        GPU("a100-40", "A100 40 GB SXM", 312e12, 40_960 * _MiB, 0.45, _A100_RUNS, 1.99, _LAMBDA),
        GPU("a100-80", "A100 80 GB SXM", 312e12, 81_920 * _MiB, 0.45, _A100_RUNS, 1.79, _RUNPOD),
        GPU("h100", "H100 80 GB SXM", 989.4e12, 81_559 * _MiB, 0.40, _H100_RUNS, 3.49, _RUNPOD),
        GPU("h200", "H200 141 GB SXM", 989.4e12, 143_771 * _MiB, 0.40, _H100_RUNS, 4.59, _RUNPOD),
        GPU("b200", "B200 180 GB SXM", 2250e12, 183_359 * _MiB, 0.35, _ASSUMED, 6.79, _RUNPOD),
    )
}


_DEVICES: Final = {
    "NVIDIA GeForce RTX 4090": "rtx4090",
    "NVIDIA L4": "l4",
    "NVIDIA L40S": "l40s",
    "NVIDIA A100-SXM4-40GB": "a100-40",
    "NVIDIA A100-SXM4-80GB": "a100-80",
    "NVIDIA H100 80GB HBM3": "h100",
    "NVIDIA H200": "h200",
    "NVIDIA B200": "b200",
}


def of_device(name: str) -> GPU | None:
    """By what its driver calls it, to the letter: a PCIe card or a slice of a GPU has a similar name and another peak."""
    return GPUS.get(_DEVICES.get(name, ""))


def gpu(name: str) -> GPU:
    """By its name, whatever its case and punctuation. Raises InputError naming those that there are."""
    plain = "".join(letter for letter in name.lower() if letter.isalnum())
    for known, found in GPUS.items():
        if plain in (known.replace("-", ""), f"nvidia{known.replace('-', '')}"):
            return found
    raise InputError(f"no GPU {name!r} is known", where="--gpu", mend=f"Choose one of {', '.join(GPUS)}.")
