"""What would make a training fit into memory that it does not fit into: each lever with what it leaves. Loads without torch."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from llm.models.config import CausalConfig
from llm.training.config import Checkpointing
from llm.training.gpus import GPU, GPUS
from llm.training.plan_memory import StepShape, memory


@dataclass(frozen=True)
class Lever:
    """`what` to do, and the memory at its highest then, in bytes."""

    what: str
    peak: int


def levers(model: CausalConfig, shape: StepShape, limit: int, gpu: GPU | None) -> list[Lever]:
    """Those that make a step fit into `limit` bytes a process, each at its mildest; where none does alone, those that do together.

    gpu: the kind that `limit` belongs to; None for a machine without, where there is no other one and nothing to shard over.
    """
    found = [
        *_first(_fewer_rows(model, shape), limit),
        *_first(_checkpointing(model, shape), limit),
        *_first(_larger(model, shape, gpu), limit=None),
    ]
    if not found:
        found += _first(_together(model, shape), limit)
    if gpu is not None and not found:
        found += _first(_sharded(model, shape), limit) or _first(_sharded(model, _least(shape)), limit)
    return found


def _first(candidates: Iterator[Lever], limit: int | None) -> list[Lever]:
    """The mildest that fits; candidates without a limit were held against their own."""
    return next(([lever] for lever in candidates if limit is None or lever.peak <= limit), [])


def _fewer_rows(model: CausalConfig, shape: StepShape, also: str = "") -> Iterator[Lever]:
    rows = shape.rows
    while rows > 1:
        rows = -(-rows // 2)
        smaller = replace(shape, rows=rows, micro_batches=-(-shape.rows * shape.micro_batches // rows))
        yield Lever(f"training.micro_batch_size={rows}{also}", memory(model, smaller).peak)


def _checkpointing(model: CausalConfig, shape: StepShape) -> Iterator[Lever]:
    kinds: tuple[Checkpointing, ...] = ("none", "selective", "full")
    for kind in kinds[kinds.index(shape.checkpointing) + 1 :]:
        yield Lever(f"training.activation_checkpointing={kind}", memory(model, replace(shape, checkpointing=kind)).peak)


def _together(model: CausalConfig, shape: StepShape) -> Iterator[Lever]:
    if shape.checkpointing != "full":
        yield from _fewer_rows(model, replace(shape, checkpointing="full"), " with training.activation_checkpointing=full")


def _larger(model: CausalConfig, shape: StepShape, gpu: GPU | None) -> Iterator[Lever]:
    needed = memory(model, shape).peak
    for other in sorted(GPUS.values(), key=lambda each: each.memory):
        if gpu is not None and other.usable >= needed and other.memory > gpu.memory:
            yield Lever(f"--gpu {other.name} ({other.memory / 1e9:.0f} GB)", needed)


def _sharded(model: CausalConfig, shape: StepShape) -> Iterator[Lever]:
    least = shape.rows == 1 and shape.checkpointing == "full"
    how = ", training.micro_batch_size=1 and training.activation_checkpointing=full" if least else ""
    for shards in (2**power for power in range(1, 11)):
        peak = memory(model, replace(shape, shards=shards, workers=1)).peak
        yield Lever(f"training.parallel=fsdp over {shards} GPUs{how}", peak)


def _least(shape: StepShape) -> StepShape:
    return replace(shape, rows=1, micro_batches=shape.rows * shape.micro_batches, checkpointing="full")
