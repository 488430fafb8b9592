"""Whether training waits for its data: `python -m benchmarks.loading [--steps N] [--json]`.

- tokens a second that the reader gives alone, from memory-mapped shards in the order of training;
- the share of a step that waits for its batch, with batches read ahead and read inline, the two in turn.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from infra.store.folder import FolderStore
from infra.store.manifest import publish
from llm.data.batches import BatchOrder, read_batch
from llm.data.tokens import TokenStream
from llm.models.build import new_model
from llm.models.presets import PRESETS, preset
from llm.training.numerics import Numerics
from llm.training.optimizers import make_optimizer
from llm.training.prefetch import Prefetch
from llm.training.step import NextToken, train_step

SHAPES: Final = (("llama-tiny", 16, 64), ("llama-14m", 8, 256))
_TOKENS: Final = 50_000_000
_CPU: Final = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=30, help="of each kind and shape")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stream = _stream(Path(folder))
        found = [_measured(stream, name, rows, length, options.steps) for name, rows, length in SHAPES]
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{'shape':<22}{'reader alone':>18}{'training':>16}{'waits, ahead':>14}{'waits, inline':>15}")
    for each in found:
        print(
            f"{each['shape']:<22}{each['reader_tokens_per_second']:>12,.0f} tok/s{each['tokens_per_second']:>10,.0f} tok/s"
            f"{each['wait_ahead']:>14.3%}{each['wait_inline']:>15.3%}"
        )


def _stream(folder: Path) -> TokenStream:
    """Random ids in four shards, as `prepare-data` lays them out."""
    shards, store = folder / "shards", FolderStore(folder / "store")
    shards.mkdir()
    for number in range(4):
        ids = np.random.default_rng(number).integers(0, 512, _TOKENS // 4, dtype=np.uint16)
        ids.tofile(shards / f"train-{number:05d}.bin")
        np.arange(0, len(ids), 1000, dtype="<u8").tofile(shards / f"train-{number:05d}.offsets")
    return TokenStream(publish(store, "datasets/random/1", shards, {"dtype": "<u2"}), "train")


def _measured(stream: TokenStream, name: str, rows: int, length: int, steps: int) -> dict[str, Any]:
    order = BatchOrder(len(stream), length, rows, seed=1)

    def read(step: int) -> Tensor:
        return torch.from_numpy(read_batch(stream, order.starts(step), length))

    began = time.perf_counter()
    for step in range(1000):
        read(step)
    alone = 1000 * rows * length / (time.perf_counter() - began)
    train = _training(name, length)
    ahead, inline, seconds = [], [], []
    with Prefetch(read, 10_000, _CPU) as batches:
        for step in range(steps + 2):
            waited, took = _step(lambda step=step: batches.take(step), train)  # type: ignore[misc]
            ahead.append(waited / took)
            seconds.append(took)
            waited, took = _step(lambda step=step: read(step), train)  # type: ignore[misc]
            inline.append(waited / took)
    return {
        "shape": f"{name} {rows} x {length}",
        "reader_tokens_per_second": alone,
        "tokens_per_second": rows * length / median(seconds[2:]),
        "wait_ahead": median(ahead[2:]),
        "wait_inline": median(inline[2:]),
        "steps": steps,
    }


def _training(name: str, length: int) -> Callable[[Tensor], None]:
    numerics = Numerics.decide("auto")
    model = new_model(preset(name, vocabulary=PRESETS[name].vocabulary, context_length=length)).train()
    optimizer = make_optimizer(numerics.optimizer, model, weight_decay=0.1)

    def train(batch: Tensor) -> None:
        float(train_step(model, NextToken(), [batch], optimizer, learning_rate=1e-3, gradient_clip=1.0, numerics=numerics).loss)

    return train


def _step(take: Callable[[], Tensor], train: Callable[[Tensor], None]) -> tuple[float, float]:
    """Seconds that it waited for the batch, and that it took."""
    began = time.perf_counter()
    batch = take()
    waited = time.perf_counter() - began
    train(batch)
    return waited, time.perf_counter() - began


if __name__ == "__main__":
    main()
