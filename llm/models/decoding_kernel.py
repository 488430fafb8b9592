"""The decoding step in C++ (`decoding.cpp`): compiled for this very processor the first time, and kept.

Why not `torch.compile`: it takes minutes of a processor for each shape where this takes three seconds for all of them, and has no
fast path for int8 without AVX-512.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

SOURCE: Final = Path(__file__).with_name("decoding.cpp")
# No -ffast-math: loading such a library makes the whole process flush denormals, and fp32 answers would not stay what they are.
_FLAGS: Final = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-shared", "-fPIC")
_COMPILERS: Final = ("g++", "c++", "clang++")
_PATIENCE: Final = 120.0

_POINTER, _INT64 = ctypes.c_void_p, ctypes.c_int64


class Matrix(ctypes.Structure):
    _fields_ = (("weight", _POINTER), ("scale", _POINTER), ("bias", _POINTER), ("rows", _INT64), ("columns", _INT64))


class Norm(ctypes.Structure):
    _fields_ = (("weight", _POINTER), ("bias", _POINTER))


class Layer(ctypes.Structure):
    _fields_ = (
        ("attention_norm", Norm),
        ("qkv", Matrix),
        ("q_norm", Norm),
        ("k_norm", Norm),
        ("out", Matrix),
        ("mlp_norm", Norm),
        ("up", Matrix),
        ("down", Matrix),
    )


class Model(ctypes.Structure):
    _fields_ = (
        *((name, _INT64) for name in ("n_layers", "width", "n_heads", "n_kv_heads", "head_width", "hidden")),
        ("epsilon", ctypes.c_float),
        ("int8", ctypes.c_int32),
        *((name, _POINTER) for name in ("positions", "cos", "sin")),
        ("embedding", Matrix),
        ("head", Matrix),
        ("norm", Norm),
        ("layers", ctypes.POINTER(Layer)),
    )


def address(tensor: Tensor | None) -> int | None:
    """Where a tensor's values lie; who asks keeps the tensor."""
    if tensor is None:
        return None
    assert tensor.is_contiguous() and tensor.device.type == "cpu"
    return tensor.data_ptr()


class Kernel:
    """The compiled step over one model's weights, which whoever made `model` keeps alive."""

    def __init__(self, library: ctypes.CDLL, model: Model) -> None:
        self._library, self._model, self._vocabulary = library, ctypes.byref(model), model.head.rows
        self._scratch, self._at_work = torch.empty(0), threading.Lock()

    def step(self, ids: Tensor, place: int, keys: Tensor, values: Tensor, logits: Tensor) -> None:
        """Ids (B, T): reads `place` tokens of the bf16 cache (layers, B, H_kv, max_length, D) and writes T more.

        logits (B, V), fp32, of the last token, is filled.
        """
        rows, (B, T), max_length, threads = ids.flatten().tolist(), ids.shape, keys.shape[3], torch.get_num_threads()
        if place + T > max_length or not all(0 <= index < self._vocabulary for index in rows):
            raise IndexError(f"token ids {rows} at place {place} of {max_length}: past the cache or the vocabulary")
        with self._at_work:  # one scratch memory
            needed = self._library.decoding_scratch(self._model, B * T, max_length, threads)
            if self._scratch.numel() < needed:
                self._scratch = torch.empty(needed)
            addresses = (tensor.data_ptr() for tensor in (keys, values, logits, self._scratch))
            self._library.decoding_step(self._model, B, T, (_INT64 * len(rows))(*rows), place, max_length, *addresses, threads)


@cache
def library() -> ctypes.CDLL | str:
    """The compiled library, or why there is none. Takes seconds where it was never compiled on this machine."""
    compiler = next((found for name in (os.environ.get("CXX", ""), *_COMPILERS) if name and (found := shutil.which(name))), None)
    if compiler is None:
        return f"no C++ compiler ({', '.join(_COMPILERS)})"
    try:
        loaded = ctypes.CDLL(str(_compiled(compiler)))
    except subprocess.CalledProcessError as error:
        return f"{compiler} does not compile {SOURCE.name}: {(error.stderr.strip().splitlines() or ['no reason given'])[0]}"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{SOURCE.name} was not compiled ({error})"
    loaded.decoding_scratch.restype = _INT64
    loaded.decoding_scratch.argtypes = (_POINTER, _INT64, _INT64, ctypes.c_int)
    loaded.decoding_step.restype = None
    loaded.decoding_step.argtypes = (_POINTER, _INT64, _INT64, _POINTER, _INT64, _INT64, *([_POINTER] * 4), ctypes.c_int)
    return loaded


def _compiled(compiler: str) -> Path:
    """The library for this source, compiler and processor, from the user's cache; compiled first where it is not there yet."""
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True, timeout=_PATIENCE).stdout
    identity = "\n".join((SOURCE.read_text(), *_FLAGS, compiler, version, _processor()))
    name = f"decoding-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.so"
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slipway"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = folder if os.access(folder, os.W_OK) else Path(tempfile.mkdtemp(prefix="slipway-"))
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="slipway-"))
    if not (folder / name).is_file():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            made = Path(scratch) / name
            command = [compiler, *_FLAGS, str(SOURCE), "-o", str(made)]
            subprocess.run(command, capture_output=True, text=True, check=True, timeout=_PATIENCE)
            made.replace(folder / name)
    return folder / name


def _processor() -> str:
    """What -march=native goes by: a home folder may be shared by unlike machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()} {platform.node()}"
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())
