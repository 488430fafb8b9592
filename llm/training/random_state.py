"""The random numbers of a worker that do not come from a seed of their own, such as those of dropout: where they stand."""

import hashlib
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def seed(seed: int, step: int, share: int) -> None:
    """Python's, numpy's and torch's generators, those of this process's GPU too, as a function of these three.

    share: which part of each batch is this worker's; those of a tensor group have the same, and must draw the same.
    """
    key = int.from_bytes(hashlib.sha256(repr((seed, step, share)).encode()).digest()[:4], "little")
    random.seed(key)
    np.random.seed(key)
    torch.manual_seed(key)


def random_state(device: str) -> dict[str, Tensor]:
    """Where they stand, as tensors on the CPU, always of the same shapes. device: cpu or cuda."""
    _, words, gauss = random.getstate()
    numpy: Any = np.random.get_state(legacy=False)
    at = [*numpy["state"]["key"].tolist(), numpy["state"]["pos"], numpy["has_gauss"], numpy["gauss"]]
    found = {
        "python": torch.tensor([*words, gauss is not None, gauss or 0.0], dtype=torch.float64),  # words of 32 bits: exact
        "numpy": torch.tensor(at, dtype=torch.float64),
        "torch": torch.get_rng_state(),
    }
    return found | ({"cuda": torch.cuda.get_rng_state()} if device == "cuda" else {})


def set_random_state(state: Mapping[str, Tensor]) -> None:
    """Sets them to what `random_state` returned."""
    *words, has_gauss, gauss = state["python"].tolist()
    random.setstate((3, tuple(int(word) for word in words), gauss if has_gauss else None))
    *keys, place, has_cached, cached = state["numpy"].tolist()
    np.random.set_state(("MT19937", np.array(keys, dtype=np.uint32), int(place), int(has_cached), cached))
    torch.set_rng_state(state["torch"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])
