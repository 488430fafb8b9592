"""What one training step takes on many GPUs: memory, bytes exchanged, seconds, and what waits for what. Loads without torch.

A paper plan: nothing here was measured by us. `llm.training.published_speeds` holds it against what others measured.
"""

from dataclasses import dataclass, replace
from typing import Final

from llm.models.config import CausalConfig, LlamaConfig
from llm.training.config import Checkpointing, Parallel
from llm.training.gpus import GPU
from llm.training.interconnect import H100_CLUSTER, Network
from llm.training.plan_memory import Memory, StepShape, memory

# Of the bf16 peak, a GPU that waits for nobody executes 1 / (_MATMUL + _REST / width): products of matrices take time as the square
# of the width, all else as the width. These three are set by a few published runs, those marked so in `published_speeds`.
_MATMUL: Final = 1.60
_REST: Final = 1900
_CONTENTION: Final = 0.5  # hidden exchange slows what hides it: NCCL's kernels take cores and memory bandwidth
_GRADIENT: Final = 4  # bytes of an exchanged gradient, in fp32
_BF16: Final = 2
_BUCKET: Final = 25 << 20  # bytes of gradients that DDP adds up at once; torch's default
AGAIN: Final[dict[Checkpointing, float]] = {"none": 0.0, "selective": 0.0, "full": 1 / 3}
"""Of a step's FLOPs, how many more checkpointing computes. Ours keeps all matrix products where it is selective."""


@dataclass(frozen=True, kw_only=True)
class Ways:
    """What differs between codes that lay a model out alike.

    weight: bytes of a gathered parameter. whole_head: whether GPUs that share products all compute the whole output layer, and
    hold it and the embedding. summed_beside: whether ddp adds up gradients, bucket by bucket, while the backward pass goes on.
    """

    weight: int
    whole_head: bool
    summed_beside: bool


OURS: Final = Ways(weight=4, whole_head=True, summed_beside=False)
"""As `llm.training.parallel` and `Topology.add` do it."""
USUAL: Final = Ways(weight=2, whole_head=False, summed_beside=True)
"""As torch's DDP, FSDP with bf16 parameters, and torchtitan's tensor parallelism do it."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a model is laid out over `gpus` GPUs.

    ddp: each holds all of it. fsdp: all share it (ZeRO-3). hybrid: the GPUs of a machine share it, machines hold copies.
    tensor: GPUs, of one machine, that share each matrix product and see the same rows. pipeline: stages one after another, each
    of `chunks` parts; Slipway has none, it is here to hold the plan against runs that have.
    """

    gpus: int
    parallel: Parallel = "fsdp"
    tensor: int = 1
    pipeline: int = 1
    chunks: int = 1
    ways: Ways = OURS

    @property
    def readers(self) -> int:
        """How many read rows of their own."""
        return self.gpus // (self.tensor * self.pipeline)

    def shards(self, network: Network) -> int:
        """How many share the state."""
        if self.parallel == "ddp":
            return 1
        return self.readers if self.parallel == "fsdp" else min(self.readers, max(1, network.per_node // self.tensor))

    def __str__(self) -> str:
        return self.parallel + (f" x tp{self.tensor}" if self.tensor > 1 else "")


@dataclass(frozen=True, kw_only=True)
class Load:
    """What each reader does in a step: `rows` rows of `length` tokens at a time, in `micro_batches` turns.

    again: of the step's FLOPs, the share that is computed once more; None for what `checkpointing` means here.
    regather: whether each turn gathers the weights, forward and backward, and scatters gradients (FULL_SHARD); else a step
    gathers once and scatters once, and keeps the weights between (SHARD_GRAD_OP).
    """

    rows: int
    length: int
    micro_batches: int = 1
    checkpointing: Checkpointing = "none"
    again: float | None = None
    regather: bool = True

    @property
    def tokens(self) -> int:
        return self.rows * self.length * self.micro_batches


@dataclass(frozen=True)
class Step:
    """Seconds of one step, and bytes that each GPU passes on to others in it; `tokens_per_second` is a GPU's.

    compute: what a GPU computes, waiting for nobody. exchange: how long the exchange alone would take; `exposed` of it nothing
    hides; `contention` is what the hidden rest costs all the same. bubble: waiting of the pipeline's stages.
    within, across: bytes over NVLink alone, and by rings that also cross the network.
    """

    compute: float
    exchange: float
    exposed: float
    contention: float
    bubble: float
    within: float
    across: float
    mfu: float
    tokens_per_second: float

    @property
    def seconds(self) -> float:
        return self.compute + self.exposed + self.contention + self.bubble

    @property
    def hidden(self) -> float:
        """Share of the exchange that runs beside computing."""
        return 1.0 - self.exposed / self.exchange if self.exchange else 1.0


def busy(width: int) -> float:
    """Share of its bf16 peak that a GPU executes when it waits for nobody, by the model's width."""
    return 1 / (_MATMUL + _REST / width)


def plan_step(model: CausalConfig, load: Load, layout: Layout, gpu: GPU, network: Network = H100_CLUSTER) -> Step:
    """One step of `load` on each reader of `layout`.

    Block by block, the exchange of the next one beside the computing of this one; tensor parallelism's own exchange is waited for.
    """
    again = AGAIN[load.checkpointing] if load.again is None else load.again
    flops = model.flops_per_token(load.length) * load.rows * load.length
    split = layout.tensor * layout.pipeline
    head = 6 * model.vocabulary * model.width * load.rows * load.length if layout.ways.whole_head else 0
    forward = (flops + (layout.tensor - 1) * head) / 3 / (split * gpu.flops * busy(model.width))
    backward = forward * (2 + 3 * again)
    blocks = model.n_layers / layout.pipeline
    block = model.parameters() / model.n_layers / layout.tensor  # parameters; the embeddings are spread over the blocks

    shards, turns, weight = layout.shards(network), load.micro_batches, layout.ways.weight
    shared = network.group(shards, stride=layout.tensor)
    copies = network.group(layout.readers // shards, stride=layout.tensor * shards)
    gather, scatter = shared.seconds("all-gather", weight * block), shared.seconds("reduce-scatter", _GRADIENT * block)
    times, gathers = (turns, 2) if load.regather else (1, 1)
    exchange = times * blocks * (gathers * gather + scatter)
    hidden = times * (blocks - 1) * (min(forward / blocks, gather) + min(backward / blocks, (gathers - 1) * gather + scatter))
    sent = {shared: shared.passed_on("all-gather", times * blocks * (gathers * weight + _GRADIENT) * block)}

    if copies.ranks > 1:  # sums over the copies, in the last turn
        held = blocks * block * _GRADIENT / shards
        buckets = max(1.0, held / _BUCKET) if layout.ways.summed_beside else 1.0
        pieces = blocks if shards > 1 else buckets  # FSDP adds up a block's share as soon as it is scattered
        piece = copies.seconds("all-reduce", held / pieces)
        exchange += pieces * piece
        hidden += min(backward * (blocks - 1) / blocks, (pieces - 1) * piece)
        sent[copies] = copies.passed_on("all-reduce", held)

    waited = 0.0
    if layout.tensor > 1:  # sums of what attention and the MLP give, forward and backward
        team, results = network.group(layout.tensor), _BF16 * load.rows * load.length * model.width
        sums = (4 + 6 * again) * blocks * turns
        waited = sums * team.seconds("all-reduce", results)
        sent[team] = sums * team.passed_on("all-reduce", results)

    compute = turns * (forward + backward)
    contention, exposed = _CONTENTION * hidden, exchange - hidden + waited
    bubble = (compute + exposed + contention) * (layout.pipeline - 1) / (layout.chunks * turns)
    seconds = compute + exposed + contention + bubble
    across = sum(size for group, size in sent.items() if group.nodes > 1)
    return Step(
        compute=compute,
        exchange=exchange + waited,
        exposed=exposed,
        contention=contention,
        bubble=bubble,
        within=sum(sent.values()) - across,
        across=across,
        mfu=turns * flops / split / gpu.flops / seconds,
        tokens_per_second=load.tokens / split / seconds,
    )


def gpu_memory(model: CausalConfig, load: Load, layout: Layout, network: Network = H100_CLUSTER) -> Memory:
    """Of each GPU. Tensor parallelism divides heads and the MLP; what lies between the blocks stays whole."""
    shape = StepShape(
        rows=load.rows,
        length=load.length,
        micro_batches=load.micro_batches,
        checkpointing=load.checkpointing,
        workers=layout.gpus
        if layout.parallel == "ddp"
        else 1,  # sharded gradients are added up as they come, nothing is held twice
        shards=layout.shards(network),
        gathered=layout.ways.weight,
    )
    return memory(_slice(model, layout), shape)


def _slice(model: CausalConfig, layout: Layout) -> CausalConfig:
    """What one of the GPUs that share products computes, as a model: the width stays, what is within the blocks is divided."""
    if layout.tensor == 1:
        return model
    assert isinstance(model, LlamaConfig), "a GPT-2's heads are as wide as the model, however few there are"
    return replace(
        model,
        n_heads=model.n_heads // layout.tensor,
        n_kv_heads=max(1, model.n_kv_heads // layout.tensor),
        hidden=model.hidden // layout.tensor,
        vocabulary=model.vocabulary if layout.ways.whole_head else model.vocabulary // layout.tensor,
    )


def fitting_load(
    model: CausalConfig, layout: Layout, gpu: GPU, *, rows: int, length: int, network: Network = H100_CLUSTER
) -> Load | None:
    """The `rows` of each reader, so many at a time and so much computed again that it fits and is fastest; None where nothing fits.

    Of those within 2 % of the fastest, the one that computes least again: what is computed again is dearer than its FLOPs say.
    """
    fitting = []
    for checkpointing in AGAIN:
        for turns in (turns for turns in range(1, rows + 1) if rows % turns == 0):
            load = Load(rows=rows // turns, length=length, micro_batches=turns, checkpointing=checkpointing)
            if gpu_memory(model, load, layout, network).peak <= gpu.usable:
                fitting.append((plan_step(model, load, layout, gpu, network).tokens_per_second, load))
                break
    best = max((speed for speed, _ in fitting), default=0.0)
    return next((load for speed, load in fitting if speed >= 0.98 * best), None)


def least_tokens(model: CausalConfig, layout: Layout, gpu: GPU, network: Network = H100_CLUSTER) -> int:
    """Tokens at a time below which a block's exchange of weights and gradients takes longer than the computing that hides it."""
    group = network.group(layout.shards(network), stride=layout.tensor)
    block = model.parameters() / model.n_layers / layout.tensor
    gather, scatter = group.seconds("all-gather", layout.ways.weight * block), group.seconds("reduce-scatter", _GRADIENT * block)
    each = model.flops_per_token(model.context_length) / 3 / model.n_layers / layout.tensor / (gpu.flops * busy(model.width))
    return round(max(gather / each, (gather + scatter) / (2 * each)))
