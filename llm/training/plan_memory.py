"""How much memory one training step takes, by its parts and at its highest. Loads without torch.

The counts follow what torch keeps of the model files and of `llm.training.loss` in eager mode, tensor by tensor;
`tests/llm/training/test_plan_memory.py` holds them against real steps. Compiled blocks keep less.
"""

from dataclasses import dataclass
from typing import Final, Literal

from llm.models.config import CausalConfig, LlamaConfig
from llm.training.config import Checkpointing, OptimizerName, TrainingConfig

Moment = Literal["the loss", "the backward pass", "the end of the backward pass", "adding up the workers' gradients", "the update"]
_LOGITS_AT_ONCE: Final = 1 << 21  # as llm.training.loss has it, which loads torch
_A_MACHINE: Final = 8
_MUON_BATCH: Final = 1 << 26  # elements, as llm.training.muon has it


@dataclass(frozen=True, kw_only=True)
class StepShape:
    """What one process works on, and how. `rows` at a time, in `micro_batches` turns; `shards` of FSDP that share the state.

    gathered: bytes of a weight that FSDP gathers; training gathers fp32.
    """

    rows: int
    length: int
    micro_batches: int = 1
    precision: Literal["fp32", "bf16", "fp8"] = "bf16"
    optimizer: OptimizerName = "adamw"
    checkpointing: Checkpointing = "none"
    workers: int = 1
    shards: int = 1
    gathered: int = 4

    @classmethod
    def of(cls, training: TrainingConfig, precision: Literal["fp32", "bf16", "fp8"], workers: int) -> "StepShape":
        """As a recipe says, on so many workers. Rows that do not divide are rounded up: the largest micro-batch counts.

        What tensor parallelism saves is not counted. Hybrid sharding without a size is that of machines of 8 workers.
        """
        share = -(-training.batch_size // max(1, workers // training.tensor_parallel))
        within = min(workers, training.shard_size or _A_MACHINE)
        rows = min(training.micro_batch_size or share, share)
        return cls(
            rows=rows,
            length=training.sequence_length,
            micro_batches=-(-share // rows),
            precision=precision,
            optimizer=training.optimizer,
            checkpointing=training.activation_checkpointing,
            workers=workers if training.parallel != "fsdp" else 1,  # sharded gradients are added up as they come
            shards={"ddp": 1, "fsdp": workers, "hybrid": within}[training.parallel],
        )


@dataclass(frozen=True)
class Memory:
    """Bytes. The parts are not there all at once: `peak` is the most at any moment, `when` is that moment.

    copies: bf16 copies of the weights, which autocast keeps. temporary: what is neither, at `when`.
    """

    weights: int
    copies: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    temporary: int
    peak: int
    when: Moment

    @property
    def before(self) -> int:
        """What is there before the step begins and after it has ended."""
        return self.weights + self.optimizer


def memory(model: CausalConfig, shape: StepShape) -> Memory:
    """Of one step in one process."""
    tokens, wide = shape.rows * shape.length, 4
    narrow = 4 if shape.precision == "fp32" else 2
    width, embedding = model.width, model.vocabulary * model.width
    parameters = model.parameters()
    matrices = _block_matrices(model)
    weights = wide * parameters // shape.shards + _buffers(model, shape.length)
    gradients = wide * parameters // shape.shards
    optimizer = (2 * wide * parameters - (wide * matrices if shape.optimizer == "muon" else 0)) // shape.shards
    gathered = 2 * narrow * matrices // model.n_layers if shape.shards > 1 else 0  # FSDP: this block's weights and the next one's
    copies = 0 if shape.precision == "fp32" or shape.shards > 1 else narrow * matrices

    block = _block_bytes(model, shape.precision)
    results, reused = _selective_bytes(model, narrow)
    kept = {"none": block, "selective": results, "full": wide * width}[shape.checkpointing]
    again = {"none": 0, "selective": block - reused, "full": block - wide * width}[shape.checkpointing]  # of the block at hand
    ends = (3 if isinstance(model, LlamaConfig) else 2) * wide * width  # around the last norm
    activations = tokens * (model.n_layers * kept + ends)
    logits, head = _logits(model, tokens, narrow)

    held = gradients if shape.micro_batches > 1 else 0
    in_cache = copies  # autocast lets go of them when the forward pass ends, the graph when their block is done
    in_graph = 0 if shape.checkpointing != "none" else copies
    passing = (2 if isinstance(model, LlamaConfig) else 1) * narrow * model.hidden + wide * width  # gradients within an MLP
    blocks = tokens * (model.n_layers * kept + again + passing)
    tied = 2 * wide * embedding if model.tied else 0  # the gradients of both its uses, beside their sum
    update = _muon_bytes(model) // shape.shards if shape.optimizer == "muon" else 0
    moments: dict[Moment, int] = {
        "the loss": in_cache + activations + logits + head + held,
        "the backward pass": in_graph + blocks + wide * embedding + held + gathered,
        "the end of the backward pass": gradients + tied + (wide * embedding if held else 0),
        "adding up the workers' gradients": gradients * (2 if shape.workers > 1 else 1),
        "the update": gradients + update,
    }
    when = max(moments, key=lambda moment: moments[moment])
    at_peak: dict[Moment, int] = {
        "the loss": head,
        "the backward pass": blocks - tokens * model.n_layers * kept + wide * embedding + gathered,
        "the end of the backward pass": moments["the end of the backward pass"] - gradients,
        "adding up the workers' gradients": gradients,
        "the update": update,
    }
    whole = _gathered(model, shape, narrow)
    peak = weights + optimizer + moments[when] + whole
    return Memory(weights, copies, gradients, optimizer, activations, logits, at_peak[when] + whole, peak, when)


def _gathered(model: CausalConfig, shape: StepShape, narrow: int) -> int:
    """What FSDP gathers beside the two blocks in `narrow` that are counted: the ends of the model for the whole step, and those
    blocks as wide as they are sent.
    """
    if shape.shards == 1:
        return 0
    around = model.parameters() - model.body_parameters()
    return shape.gathered * around + 2 * (shape.gathered - narrow) * model.body_parameters() // model.n_layers


def whole_logits_bytes(model: CausalConfig, shape: StepShape) -> int:
    """What the logits would take at once: they, their logarithms of probabilities and their gradient, in fp32."""
    return 12 * shape.rows * shape.length * model.vocabulary


def _block_bytes(model: CausalConfig, precision: str) -> int:
    """What the backward pass keeps of a block for each token."""
    width, heads = model.width, model.n_heads * model.head_width
    fp32 = precision == "fp32"
    narrow = 4 if fp32 else 2
    attention = 4 * heads * narrow + 4 * model.n_heads  # queries, keys, values, the result; the log of the sums
    residual = 2 * 4 * width
    if isinstance(model, LlamaConfig):
        norms = 2 * (4 * width + 4)  # normalised, and the scale
        inputs = 2 * 4 * width if fp32 else (3 + 2) * 2 * width  # autocast makes a copy for each product
        per_head = 8 * (heads + model.n_kv_heads * model.head_width) if model.qk_norm else 0
        return residual + norms + inputs + attention + heads * narrow + per_head + 4 * model.hidden * narrow  # the result twice
    return residual + 2 * 8 + 2 * narrow * width + attention + 2 * model.hidden * narrow


def _selective_bytes(model: CausalConfig, narrow: int) -> tuple[int, int]:
    """A block's input, and the results of matrix products and of attention; and what of them is kept without checkpointing too."""
    heads, keys = model.n_heads * model.head_width, model.n_kv_heads * model.head_width
    into_mlp = (2 if isinstance(model, LlamaConfig) else 1) * model.hidden
    both = 4 * model.width + 4 * model.n_heads + narrow * (heads + into_mlp)
    return both + narrow * (heads + 2 * keys + 2 * model.width), both


def _logits(model: CausalConfig, tokens: int, narrow: int) -> tuple[int, int]:
    """Of the chunks that are there at once; and around them: the head's gradients, and its bf16 copies."""
    rows = max(1, _LOGITS_AT_ONCE // model.vocabulary)
    several = tokens > rows
    bytes_each = {4: 12 if several else 8, 2: 16 if several else 10}[narrow]
    embedding = model.vocabulary * model.width
    gradients = 4 * tokens * model.width + 4 * embedding
    copies = 0 if narrow == 4 else 2 * tokens * model.width + 4 * embedding
    return bytes_each * min(rows, tokens) * model.vocabulary, gradients + copies


def _block_matrices(model: CausalConfig) -> int:
    """The parameters of the blocks' matrices."""
    attention = model.width * model.head_width * (2 * model.n_heads + 2 * model.n_kv_heads)
    mlp = (3 if isinstance(model, LlamaConfig) else 2) * model.width * model.hidden
    return model.n_layers * (attention + mlp)


def _buffers(model: CausalConfig, length: int) -> int:
    return 4 * max(length, model.context_length) * model.head_width if isinstance(model, LlamaConfig) else 0


def _muon_bytes(model: CausalConfig) -> int:
    """Muon's copies of gradients, directions and updates, and what it makes of the matrices of one shape that it turns at once."""
    largest = model.width * model.hidden
    alike = (2 if isinstance(model, LlamaConfig) else 1) * model.n_layers * largest
    return 4 * (3 * _block_matrices(model) + 5 * min(alike, max(_MUON_BATCH, largest)))
