"""What is done to a model from outside before it is trained. The model's own file knows nothing of it, nor does its state.

In this order: tensor parallelism and float8 matrix products, which change single layers; activation checkpointing and compilation,
each around the one before, so that the compiler sees what is computed again and fuses it; last sharding, whose gathering of weights
stays outside of all. Each block is compiled alone: all are alike, so that one compilation serves all of them (13 s for six
blocks, where the whole model took a minute and ran 1 % faster).
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import torch
from torch import nn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from llm.models import blockwise
from llm.training.config import Checkpointing
from llm.training.float8 import with_float8
from llm.training.numerics import Numerics
from llm.training.topology import ALONE, Topology

Forward = Callable[..., Any]

_aten: Final = torch.ops.aten
KEPT: Final = frozenset(
    {
        _aten.mm.default,
        _aten.addmm.default,
        _aten.bmm.default,
        _aten._scaled_mm.default,
        _aten._scaled_dot_product_flash_attention.default,
        _aten._scaled_dot_product_efficient_attention.default,
        _aten._scaled_dot_product_cudnn_attention.default,
        _aten._scaled_dot_product_flash_attention_for_cpu.default,
        blockwise.OPERATOR,
    }
)
"""What selective checkpointing keeps: matrix products and attention, dear to compute; all the rest is computed again."""


def apply(model: nn.Module, numerics: Numerics, checkpointing: Checkpointing = "none", topology: Topology = ALONE) -> None:
    """Sets how the blocks of a model in training compute. Names stay as they are, and parameters too but where workers share them.

    A look at the model between steps (`model.eval()`) computes as if nothing had been done: other shapes would compile anew.
    Where workers share the model, they all look at once. Raises ValueError for a model without blocks, InputError for one that
    does not divide among the workers.
    """
    blocks = list(blocks_of(model))
    if not blocks:
        raise ValueError(f"{type(model).__name__} has no blocks")
    if topology.has("tensor"):
        from llm.training.parallel import split  # a second of torch's libraries, which nobody needs who holds everything

        split(model, blocks, topology.mesh)
    for block in blocks:
        forward = type(block).forward.__get__(block)
        trained = forward
        if numerics.precision == "fp8":
            with_float8(block)
        if checkpointing != "none":
            trained = _checkpointed(trained, checkpointing)
        if numerics.compile:
            trained = torch.compile(trained)
        if trained is not forward:
            block.forward = partial(_either, block, trained, forward)
    if topology.has("shard"):
        from llm.training.parallel import shard

        shard(model, blocks, topology.mesh)


def blocks_of(model: nn.Module) -> Iterator[nn.Module]:
    """The blocks of a causal model, bare or within a classifier."""
    for module in model.modules():
        if isinstance(blocks := getattr(module, "blocks", None), nn.ModuleList):
            yield from blocks


def _either(block: nn.Module, trained: Forward, forward: Forward, *arguments: Any, **options: Any) -> Any:
    return (trained if block.training else forward)(*arguments, **options)


def _checkpointed(forward: Forward, checkpointing: Checkpointing) -> Forward:
    if checkpointing == "full":
        return partial(checkpoint, forward, use_reentrant=False)
    return partial(checkpoint, forward, use_reentrant=False, context_fn=partial(create_selective_checkpoint_contexts, _policy))


def _policy(context: Any, operation: Any, *arguments: Any, **options: Any) -> CheckpointPolicy:
    return CheckpointPolicy.MUST_SAVE if operation in KEPT else CheckpointPolicy.PREFER_RECOMPUTE
