"""How workers share a model: the mesh they stand on, and what is done on it to a model from outside.

The mesh has three dimensions, the nearest workers last: `replicate` (groups that each hold the whole state), `shard` (FSDP: workers
that hold a piece of the state each and have batches of their own) and `tensor` (workers that compute the same batch together).
The same code runs over gloo between CPUs and over NCCL between GPUs; on GPUs nobody has measured it yet. The names in the model's
state stay as they are, and a piece of a tensor knows its place in the whole: a checkpoint of one arrangement loads in any other.
"""

import os
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    PrepareModuleInput,
    RowwiseParallel,
    parallelize_module,
)
from torch.nn import functional as F

from infra.store.errors import InputError
from llm.models.build import new_model
from llm.models.causal import CausalModel
from llm.models.config import CausalConfig
from llm.models.gpt2 import GPT2
from llm.models.layers import Rope, rms_norm
from llm.models.lora import LoraLinear, adapters, body
from llm.training.job import LoopConfig
from llm.training.topology import Topology

_WHERE: Final = "training.tensor_parallel"


def arrange(topology: Topology, config: LoopConfig, device: str) -> Topology:
    """The workers as the configuration has them share the model; as they were where each holds and computes all of it.

    All workers call it at once. Raises InputError where their number does not divide.
    """
    world, tensor = topology.world, config.tensor_parallel
    if world % tensor:
        raise InputError(f"{tensor} does not divide {world} workers", where=_WHERE, mend="Set it to a divisor of training.workers.")
    together = {"ddp": lambda: tensor, "fsdp": lambda: world, "hybrid": lambda: _shard_size(topology, config)}[config.parallel]()
    if world % together or together % tensor:
        raise InputError(
            f"groups of {together} workers, of {world} in all, {tensor} of which compute together",
            where="training.shard_size",
            mend="Set it to a divisor of training.workers and a multiple of training.tensor_parallel.",
        )
    if together == 1:
        return topology
    shape, names = (world // together, together // tensor, tensor), ("replicate", "shard", "tensor")
    mesh = init_device_mesh(device, shape, mesh_dim_names=names)
    mesh["replicate", "shard"]._flatten("data")
    return replace(topology, mesh=mesh)


def _shard_size(topology: Topology, config: LoopConfig) -> int:
    if config.shard_size:
        return config.shard_size
    sizes = set(topology.gather(int(os.environ.get("LOCAL_WORLD_SIZE", topology.world))))
    if len(sizes) > 1:
        raise InputError(
            f"the machines have {' and '.join(map(str, sorted(sizes)))} workers",
            where="training.parallel",
            mend="Set training.shard_size to how many workers are to hold the state together.",
        )
    return sizes.pop()


def split(model: nn.Module, blocks: Iterable[nn.Module], mesh: DeviceMesh) -> None:
    """Tensor parallelism (Shoeybi et al., 2019): each worker of a tensor group computes its own heads and hidden units.

    Embeddings, norms and the output layer stay whole on each. Raises InputError where heads or hidden units do not divide.
    """
    inner: Any = body(model)
    config: CausalConfig = inner.config
    mesh = mesh["tensor"]
    counts = {"heads": config.n_heads, "key-value heads": config.n_kv_heads, "hidden units": config.hidden}
    if odd := [f"{count} {what}" for what, count in counts.items() if count % mesh.size()]:
        raise InputError(
            f"the model's {' and '.join(odd)} do not divide among {mesh.size()} workers",
            where=_WHERE,
            mend="Set it to a divisor of them.",
        )
    if getattr(config, "dropout", 0.0) or any(isinstance(module, LoraLinear) for module in model.modules()):
        raise InputError("a model with dropout or adapters is not split", where=_WHERE, mend="Set it to 1.")
    for block in blocks:
        parallelize_module(block, mesh, _gpt2() if isinstance(inner, GPT2) else _llama())


def _llama() -> dict[str, ParallelStyle]:
    return {
        "attention": _same_input(5),
        **{f"attention.{name}": ColwiseParallel() for name in "qkv"},
        "attention.q_norm": _HeadNorm(),
        "attention.k_norm": _HeadNorm(),
        "attention.out": RowwiseParallel(),
        "mlp": _same_input(1),
        "mlp.gate": ColwiseParallel(),
        "mlp.up": ColwiseParallel(),
        "mlp.down": RowwiseParallel(),
    }


def _gpt2() -> dict[str, ParallelStyle]:
    return {
        "attention.qkv": _Fused(3),
        "attention.out": RowwiseParallel(),
        "mlp.up": ColwiseParallel(),
        "mlp.down": RowwiseParallel(),
    }


def _same_input(arguments: int) -> ParallelStyle:
    """The first argument is the same on all workers; the slopes that come back from its several readers are added up once."""
    layout = (Replicate(), *[None] * (arguments - 1))
    return PrepareModuleInput(input_layouts=layout, desired_input_layouts=layout)


class _Held(ParallelStyle):
    """A module that computes with weights gathered from the tensor group, and whose slopes are added up over the group."""

    placement: Shard | Replicate

    @abstractmethod
    def forward(self, module: Any, mesh: DeviceMesh, x: Tensor) -> Tensor: ...

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        for name, parameter in list(module.named_parameters(recurse=False)):
            held = distribute_tensor(parameter.detach(), device_mesh, [self.placement])
            module.register_parameter(name, nn.Parameter(held, requires_grad=parameter.requires_grad))
            module.forward = partial(self.forward, module, device_mesh)
        return module


class _Fused(_Held):
    """A matrix that is `parts` matrices stacked by rows, each to be cut by heads.

    A worker's rows of them do not lie together, and a checkpoint knows a piece by where it begins: the matrix is held in plain
    pieces, and each pass gathers it and takes its own rows. That sends 3·C² numbers, where gathering what the matrix gives would
    send 3·C of each token.
    """

    placement = Shard(0)

    def __init__(self, parts: int) -> None:
        super().__init__()
        self.parts = parts

    def forward(self, module: Any, mesh: DeviceMesh, x: Tensor) -> Tensor:
        x = DTensor.from_local(x, mesh, [Replicate()], run_check=False).to_local(grad_placements=[Partial()])

        def own(weights: DTensor) -> Tensor:
            parts = _gathered(weights).chunk(self.parts)
            return torch.cat([part.chunk(mesh.size())[mesh.get_local_rank()] for part in parts])

        return F.linear(x, own(module.weight), own(module.bias))


class _HeadNorm(_Held):
    """A norm of each head by itself: its one weight serves the heads of all workers."""

    placement = Replicate()

    def forward(self, module: Any, mesh: DeviceMesh, x: Tensor) -> Tensor:
        return rms_norm(x, _gathered(module.weight), module.epsilon)


def _gathered(weights: DTensor) -> Tensor:
    return weights.full_tensor(grad_placements=[Partial()])


def shard(model: nn.Module, blocks: Iterable[nn.Module], mesh: DeviceMesh) -> None:
    """FSDP (Zhao et al., 2023): a block's weights are gathered while it computes, its gradients are added up into pieces.

    Gradients are sums over the data workers, never means: the loss was divided by the count of all targets already. What is
    around the blocks, the output layer among it, is gathered from the forward pass to the end of the backward pass.
    """
    data = mesh["replicate", "shard"] if mesh["replicate"].size() > 1 else mesh["shard"]
    for block in blocks:
        fully_shard(block, mesh=data)
    fully_shard(model, mesh=data, reshard_after_forward=False)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    if hasattr(model, "hidden"):
        register_fsdp_forward_method(model, "hidden")  # what objectives call in the place of forward


def whole(model: nn.Module, topology: Topology) -> nn.Module | None:
    """The model to show text with: itself, or where workers share it a copy in the first one's main memory and on the others none.

    All workers call it at once. Of a shared model that shows no text, a classifier, there is no copy. Generating with the pieces
    themselves would hang where one worker stopped a token earlier.
    """
    if topology.mesh is None:
        return model
    if not isinstance(model, CausalModel):
        return None
    held: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if topology.leads:
            held[name] = full.cpu()
    if not topology.leads:
        return None
    for name, adapter in adapters(model):
        weight, *parts = (held.pop(f"{name}.{part}") for part in ("weight", "lora_a", "lora_b"))
        held[f"{name}.weight"] = adapter.sum_of(weight, *parts)  # the copy has no adapters
    with torch.device("meta"):
        copy = new_model(model.config)
    copy.load_state_dict(held, assign=True)
    for module in copy.modules():
        if isinstance(module, Rope):
            module.reset()
    return copy
