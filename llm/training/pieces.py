"""Tensors of which each worker holds a piece: what optimizers and norms need to know of them. A plain tensor is one piece.

Torch's library for such tensors takes a second to load; it is there already wherever there is such a tensor.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def local(tensor: Tensor) -> Tensor:
    """The piece that this worker holds, in the same memory."""
    return tensor.to_local() if _in_pieces(tensor) else tensor  # type: ignore[attr-defined]


def whole(piece: Tensor, like: Tensor) -> Tensor:
    """All of a tensor of which this worker gives its piece, cut as `like` is. All workers of `like` call it at once."""
    if not _in_pieces(like):
        return piece
    from torch.distributed.tensor import DTensor

    layout: Any = like
    cut = DTensor.from_local(piece, layout.device_mesh, layout.placements, shape=like.shape, stride=like.stride())
    return cut.full_tensor()


def piece(tensor: Tensor, like: Tensor) -> Tensor:
    """This worker's piece of a tensor that it has all of, cut as `like` is. Sends nothing."""
    if not _in_pieces(like):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    layout: Any = like
    return distribute_tensor(tensor, layout.device_mesh, layout.placements, src_data_rank=None).to_local()


def total_norm(tensors: Sequence[Tensor], world: int) -> Tensor:
    """The length () of all tensors together, the same bits on each of `world` workers, who call it at once.

    A piece that several workers hold counts once.
    """
    if not any(map(_in_pieces, tensors)):
        return torch.nn.utils.get_total_norm(tensors)
    norms = torch._foreach_norm([local(tensor) for tensor in tensors])
    shares = [_pieces(tensor) / world for tensor in tensors]
    squares = (torch.stack(norms).square() * torch.tensor(shares, device=norms[0].device)).sum()
    dist.all_reduce(squares)
    return squares.sqrt()


def _in_pieces(tensor: Tensor) -> bool:
    return hasattr(tensor, "device_mesh")


def _pieces(tensor: Any) -> int:
    """How many different pieces there are of it."""
    if not _in_pieces(tensor):
        return 1
    sizes = zip(tensor.device_mesh.shape, tensor.placements, strict=True)
    return prod(size for size, placement in sizes if not placement.is_replicate())
