"""Books as token streams for benchmarks of learning: a tokenizer of their own, one order of the data for every contender."""

import gzip
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llm.data.batches import BatchOrder
from llm.text.tokenizer import Tokenizer

_HELD_OUT = 13  # one book in 13 is never trained on
_VALIDATION_BYTES = 200_000  # of each held-out book
_TOKENIZER_CHARACTERS = 60_000  # of each book that the tokenizer is trained on
CACHE = Path(".cache/benchmarks")


@dataclass(frozen=True, eq=False)
class Books:
    """Token ids (uint16) of the training and the held-out books, and each token's length in bytes (V,)."""

    train: NDArray[np.uint16]
    held_out: NDArray[np.uint16]
    token_bytes: Tensor
    vocabulary: int

    def order(self, length: int, batch_size: int, seed: int) -> BatchOrder:
        """The rows of each step: a pure function of the seed and the step."""
        return BatchOrder(len(self.train), length, batch_size, seed)

    def batch(self, order: BatchOrder, step: int, length: int) -> Tensor:
        """Ids of a step: int64 (B, length + 1)."""
        return _rows(self.train, order.starts(step), length)

    def validation(self, rows: int, length: int) -> Tensor:
        """Rows spread evenly over the held-out books: int64 (rows, length + 1)."""
        return _rows(self.held_out, np.linspace(0, len(self.held_out) - length - 1, rows).astype(np.int64), length)

    def bits_per_byte(self, nats: float, rows: Tensor) -> float:
        """From the nats of all targets of these rows."""
        return nats / math.log(2) / float(self.token_bytes[rows[:, 1:]].sum())


def books(vocabulary: int, cache: Path = CACHE) -> Books:
    """From the folder `books` of SLIPWAY_TEST_DATA, tokenized once and kept under `cache`."""
    folder = cache / f"books-{vocabulary}"
    if not (folder / "done").exists():
        _tokenize(Path(os.environ["SLIPWAY_TEST_DATA"]) / "books", vocabulary, folder)
    arrays = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("train", "held-out", "token-bytes")]
    return Books(arrays[0], arrays[1], torch.from_numpy(np.array(arrays[2], dtype=np.int64)), len(arrays[2]))


def _tokenize(source: Path, vocabulary: int, folder: Path) -> None:
    texts: list[str] = []
    for path in sorted(source.glob("*.jsonl.gz")):
        with gzip.open(path, "rt") as lines:
            texts += [json.loads(line)["text"] for line in lines]
    train = [text for place, text in enumerate(texts) if place % _HELD_OUT]
    held_out = [text[:_VALIDATION_BYTES] for text in texts[::_HELD_OUT]]
    tokenizer = Tokenizer.train((text[:_TOKENIZER_CHARACTERS] for text in train), vocabulary)
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (("train", train), ("held-out", held_out)):
        ids = [np.array([tokenizer.eos, *tokens], dtype=np.uint16) for tokens in tokenizer.encode_batch(part)]
        np.save(folder / f"{name}.npy", np.concatenate(ids))
    np.save(folder / "token-bytes.npy", np.asarray(tokenizer.token_bytes()))
    (folder / "done").touch()


def _rows(stream: NDArray[np.uint16], starts: NDArray[np.int64], length: int) -> Tensor:
    return torch.from_numpy(np.stack([stream[start : start + length + 1] for start in starts]).astype(np.int64))
