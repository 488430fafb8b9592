"""Which of the workers this process is, and how they add up what each has: alone, or through torch.distributed."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class Topology:
    """`rank` of `world` workers. A world of one needs no process group.

    mesh: a DeviceMesh, how they share a model (`llm.training.parallel`); None where each holds and computes all of it.
    """

    rank: int = 0
    world: int = 1
    group: Any = field(default=None, compare=False)  # of torch.distributed; the one that it began with where there is none
    mesh: Any = field(default=None, compare=False)

    def beside(self) -> Self:
        """The same workers over connections of their own, for a thread beside the training. All of them ask for it at once."""
        return self if self.world == 1 else replace(self, group=dist.new_group(backend="gloo"))

    @property
    def leads(self) -> bool:
        return self.rank == 0

    @property
    def shares(self) -> int:
        """Into how many parts a batch is cut: workers of a tensor group compute the same one."""
        return self.world if self.mesh is None else int(self.mesh["data"].size())

    @property
    def share(self) -> int:
        """Which of the parts is this worker's."""
        return self.rank if self.mesh is None else int(self.mesh["data"].get_local_rank())

    def has(self, dimension: str) -> bool:
        """Whether workers share a model along this dimension of the mesh: "shard" or "tensor"."""
        return self.mesh is not None and self.mesh[dimension].size() > 1

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replaces each tensor by its sum over the parts of the batch, in one message."""
        if self.world == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat, group=self.group if self.mesh is None else self.mesh["data"].get_group())
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def spread(self, sum_of_parts: Tensor) -> None:
        """Makes what `add` has summed over the parts the sum over all workers: those of a tensor group may have given different."""
        if self.has("tensor"):
            dist.all_reduce(sum_of_parts, group=self.mesh["tensor"].get_group())

    def gather(self, value: T) -> list[T]:
        """What every worker gave, by rank, once all have."""
        if self.world == 1:
            return [value]
        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, value, group=self.group)
        return found

    def wait(self) -> None:
        """Returns when every worker has come here."""
        if self.world > 1:
            dist.barrier(group=self.group)


ALONE = Topology()
