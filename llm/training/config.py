"""What a training run does. Loads without torch: recipes, plans and forms stand on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from infra.store.errors import InputError
from infra.store.fingerprint import RUNTIME
from llm.config import Bounds, Count, out_of_bounds
from llm.data.windows import Windows, windows
from llm.models.lora_config import LoraConfig
from llm.training.worker_counts import Workers, fewest, most, shown, worker_counts

OptimizerName = Literal["adamw", "muon"]
ScheduleName = Literal["warmup-stable-decay", "cosine", "constant"]
Precision = Literal["auto", "fp32", "bf16", "fp8"]
Compile = Literal["auto", "always", "never"]
Checkpointing = Literal["none", "selective", "full"]
Parallel = Literal["ddp", "fsdp", "hybrid"]


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How long and how to train. Exactly one of steps, epochs and tokens per parameter is given; the others are 0."""

    __pydantic_config__: ClassVar[dict[str, object]] = {"use_attribute_docstrings": True, "extra": "forbid"}

    steps: Annotated[int, Bounds(ge=0)] = 0
    """Optimizer updates to make."""
    epochs: Annotated[float, Bounds(ge=0)] = 0.0
    """Or: how often to go through the training documents."""
    tokens_per_parameter: Annotated[float, Bounds(ge=0)] = 0.0
    """Or: tokens to train on for each parameter of the model; 20 is compute-optimal (Hoffmann et al., 2022)."""
    batch_size: Annotated[int, Bounds(ge=1)] = 16
    """Rows in one update, over all workers together."""
    sequence_length: Annotated[int, Bounds(ge=2)] = 256
    """Tokens in one row: the longest context the model learns to use."""
    mask_documents: bool = False
    """Whether a token sees its own document alone, in rows that hold parts of several; on a CPU that makes attention dearer."""
    seed: Annotated[int, Bounds(ge=0)] = 1
    """Decides the initial weights and the order of the data."""
    optimizer: OptimizerName = "muon"
    """muon: Muon on the matrices of the blocks, AdamW on the rest. adamw: on all; its best learning rate is about half as high."""
    schedule: ScheduleName = "warmup-stable-decay"
    """How the learning rate goes after warm-up: level and then down to nearly 0, down along a cosine, or level to the end."""
    learning_rate: Annotated[float, Bounds(gt=0)] = 3e-3
    """The highest learning rate, after warm-up."""
    warmup_share: Annotated[float, Bounds(ge=0, lt=1)] = 0.03
    """Share of the steps in which the learning rate rises from 0."""
    decay_share: Annotated[float, Bounds(ge=0, le=1)] = 0.5
    """Share of the steps, at the end, in which the learning rate falls to nearly 0; warmup-stable-decay alone reads it."""
    weight_decay: Annotated[float, Bounds(ge=0)] = 0.1
    """Decoupled weight decay, on matrices alone."""
    gradient_clip: Annotated[float, Bounds(ge=0)] = 1.0
    """Longest gradient of an update; longer ones are scaled down to it. 0 switches it off."""
    spike_window: Annotated[int, Bounds(ge=0)] = 100
    """Steps whose losses and gradient norms say what is usual; a step far above them is not taken. 0 switches that off."""
    spike_threshold: Annotated[float, Bounds(gt=0)] = 10.0
    """How far above: in standard deviations over the median, beside what `llm.training.guard` asks for as well."""
    max_rollbacks: Annotated[int, Bounds(ge=0)] = 2
    """How often the run goes back to a checkpoint, and leaves the batches since out, when steps go wrong and it does not pass."""
    precision: Precision = "auto"
    """Arithmetic of matrix products: auto is bf16 where the machine is fast at it, fp8 needs a Hopper GPU. Weights stay fp32."""
    compile: Annotated[Compile, RUNTIME] = "auto"
    """Whether torch.compile makes the blocks faster; auto does it where the run is long enough to win by it."""
    micro_batch_size: Annotated[int, Bounds(ge=0), RUNTIME] = 0
    """Rows that a worker works on at a time, to save memory; 0 takes all of its share of the batch at once."""
    activation_checkpointing: Annotated[Checkpointing, RUNTIME] = "none"
    """What of each block is computed again in the backward pass, to save memory: all but matrix products and attention, or all."""
    parallel: Annotated[Parallel, RUNTIME] = "ddp"
    """Where weights and optimizer state lie: all on each worker (ddp), a piece on each (fsdp), pieces within groups (hybrid)."""
    shard_size: Annotated[int, Bounds(ge=0), RUNTIME] = 0
    """Workers that hold the state together, in pieces; hybrid alone reads it. 0: those of one machine."""
    tensor_parallel: Annotated[int, Bounds(ge=1), RUNTIME] = 1
    """Workers that compute the same rows together, each its share of the heads and hidden units; a divisor of workers."""
    skip_steps: tuple[str, ...] = ()
    """Steps whose batches are never read, such as 880-920, as a run without this counts them; those after them move up."""
    skip_tokens: tuple[str, ...] = ()
    """Places of the training tokens, from 0, such as 51200-52223: no row that could hold one of them is ever read."""
    validate_every: Annotated[int, Bounds(ge=0), RUNTIME] = 50
    """Steps between looks at the validation documents; 0 looks at the end alone."""
    checkpoint_every: Annotated[int, Bounds(ge=0), RUNTIME] = 100
    """Steps between checkpoints, from which an interrupted run goes on; 0 keeps the last one alone."""
    keep_checkpoints: Annotated[int, Bounds(ge=1), RUNTIME] = 2
    """Checkpoints that stay: the newest so many."""
    keep_every: Annotated[int, Bounds(ge=0), RUNTIME] = 0
    """And those of every so many steps, for good; 0 keeps none of them."""
    workers: Annotated[Workers, Count(), RUNTIME] = 0
    """Ray workers to train on; 0 trains in this process. [1, 4]: as many as there is room for, at the start and after a loss."""

    def problems(self, where: str = "training.") -> list[str]:
        """Everything that is wrong with it, one phrase each."""
        return [
            *out_of_bounds(self, where),
            *_how_long(self, ("steps", "epochs", "tokens_per_parameter"), where),
            *_shares_and_workers(self, where),
            *_skipped(self, where),
        ]

    def skipped(self) -> dict[str, Windows]:
        """The skip list as `llm.data.batches.BatchOrder` takes it. Raises InputError naming what is no window."""
        return skip_list(self.skip_steps, self.skip_tokens)

    @property
    def tokens_per_step(self) -> int:
        return self.batch_size * self.sequence_length

    def total_steps(self, *, parameters: int, training_tokens: int) -> int:
        """Optimizer updates in all, for a model of `parameters` and a training split of `training_tokens`."""
        if self.steps:
            return self.steps
        tokens = self.epochs * training_tokens if self.epochs else self.tokens_per_parameter * parameters
        steps = round(tokens / self.tokens_per_step)
        if steps < 1:
            raise InputError(
                f"that is {tokens:.0f} tokens, less than one step of {self.tokens_per_step}",
                where="training",
                mend="Train longer, or with smaller batches.",
            )
        return steps


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """How a base model learns from examples. Exactly one of steps and epochs is given; the other is 0."""

    __pydantic_config__: ClassVar[dict[str, object]] = {"use_attribute_docstrings": True, "extra": "forbid"}

    steps: Annotated[int, Bounds(ge=0)] = 0
    """Optimizer updates to make."""
    epochs: Annotated[float, Bounds(ge=0)] = 0.0
    """Or: how often to go through the training examples."""
    batch_size: Annotated[int, Bounds(ge=1)] = 16
    """Examples in one update, over all workers together."""
    max_length: Annotated[int, Bounds(ge=0)] = 0
    """Tokens of an example at most; a longer text is cut off, a longer chat left out. 0: as many as the base model reads."""
    pack: bool = False
    """Whether the chats of a batch share rows of max_length, none cut and none seeing another, as little padding as can be."""
    lora: LoraConfig = LoraConfig(rank=0)
    """Adapters that learn in the place of the weights; rank 0: none. They want about ten times the learning rate."""
    seed: Annotated[int, Bounds(ge=0)] = 1
    """Decides the order of the examples, and the weights that the base model has not."""
    optimizer: OptimizerName = "adamw"
    """adamw: on all. muon: Muon on the matrices of the blocks, AdamW on the rest; its best learning rate is about twice as high."""
    schedule: ScheduleName = "warmup-stable-decay"
    """How the learning rate goes after warm-up: level and then down to nearly 0, down along a cosine, or level to the end."""
    learning_rate: Annotated[float, Bounds(gt=0)] = 3e-4
    """The highest learning rate, after warm-up."""
    warmup_share: Annotated[float, Bounds(ge=0, lt=1)] = 0.1
    """Share of the steps in which the learning rate rises from 0."""
    decay_share: Annotated[float, Bounds(ge=0, le=1)] = 0.9
    """Share of the steps, at the end, in which the learning rate falls to nearly 0; warmup-stable-decay alone reads it."""
    weight_decay: Annotated[float, Bounds(ge=0)] = 0.1
    """Decoupled weight decay, on matrices alone."""
    gradient_clip: Annotated[float, Bounds(ge=0)] = 1.0
    """Longest gradient of an update; longer ones are scaled down to it. 0 switches it off."""
    spike_window: Annotated[int, Bounds(ge=0)] = 100
    """Steps whose losses and gradient norms say what is usual; a step far above them is not taken. 0 switches that off."""
    spike_threshold: Annotated[float, Bounds(gt=0)] = 10.0
    """How far above: in standard deviations over the median, beside what `llm.training.guard` asks for as well."""
    max_rollbacks: Annotated[int, Bounds(ge=0)] = 2
    """How often the run goes back to a checkpoint, and leaves the batches since out, when steps go wrong and it does not pass."""
    precision: Precision = "auto"
    """Arithmetic of matrix products: auto is bf16 where the machine is fast at it, fp8 needs a Hopper GPU. Weights stay fp32."""
    compile: Annotated[Compile, RUNTIME] = "auto"
    """Whether torch.compile makes the blocks faster; auto does it where the run is long enough to win by it."""
    micro_batch_size: Annotated[int, Bounds(ge=0), RUNTIME] = 0
    """Rows that a worker works on at a time, to save memory; 0 takes all of its share of the batch at once."""
    activation_checkpointing: Annotated[Checkpointing, RUNTIME] = "none"
    """What of each block is computed again in the backward pass, to save memory: all but matrix products and attention, or all."""
    parallel: Annotated[Parallel, RUNTIME] = "ddp"
    """Where weights and optimizer state lie: all on each worker (ddp), a piece on each (fsdp), pieces within groups (hybrid)."""
    shard_size: Annotated[int, Bounds(ge=0), RUNTIME] = 0
    """Workers that hold the state together, in pieces; hybrid alone reads it. 0: those of one machine."""
    tensor_parallel: Annotated[int, Bounds(ge=1), RUNTIME] = 1
    """Workers that compute the same rows together, each its share of the heads and hidden units; a divisor of workers."""
    validate_every: Annotated[int, Bounds(ge=0), RUNTIME] = 50
    """Steps between looks at the validation examples; 0 looks at the end alone."""
    checkpoint_every: Annotated[int, Bounds(ge=0), RUNTIME] = 100
    """Steps between checkpoints, from which an interrupted run goes on; 0 keeps the last one alone."""
    keep_checkpoints: Annotated[int, Bounds(ge=1), RUNTIME] = 2
    """Checkpoints that stay: the newest so many."""
    keep_every: Annotated[int, Bounds(ge=0), RUNTIME] = 0
    """And those of every so many steps, for good; 0 keeps none of them."""
    workers: Annotated[Workers, Count(), RUNTIME] = 0
    """Ray workers to train on; 0 trains in this process. [1, 4]: as many as there is room for, at the start and after a loss."""

    def problems(self, where: str = "training.") -> list[str]:
        """Everything that is wrong with it, one phrase each."""
        clash = self.lora.rank > 0 and self.tensor_parallel > 1
        return [
            *out_of_bounds(self, where),
            *_how_long(self, ("steps", "epochs"), where),
            *_shares_and_workers(self, where),
            *([f"{where}lora and {where}tensor_parallel do not go together: take tensor_parallel 1"] if clash else []),
        ]

    def total_steps(self, examples: int) -> int:
        """Optimizer updates in all, over `examples` of the training split."""
        steps = self.steps or round(self.epochs * examples / self.batch_size)
        if steps < 1:
            raise InputError(
                f"that is {self.epochs:g} epochs of {examples} examples, less than one step of {self.batch_size}",
                where="training",
                mend="Train longer, or with smaller batches.",
            )
        return steps


def skip_list(steps: Sequence[str], tokens: Sequence[str], where: str = "training.") -> dict[str, Windows]:
    """From the words of a recipe, or of a record of one: steps are counted from 1 there, as in the metrics."""
    return {
        "skip_steps": windows(steps, f"{where}skip_steps", counted_from=1),
        "skip_tokens": windows(tokens, f"{where}skip_tokens"),
    }


def _skipped(config: TrainingConfig, where: str) -> list[str]:
    try:
        skip_list(config.skip_steps, config.skip_tokens, where)
    except InputError as error:
        return [f"{error.where}: {error.what}"]
    return []


def _how_long(config: object, ways: tuple[str, ...], where: str) -> list[str]:
    given = [name for name in ways if getattr(config, name)]
    if len(given) == 1:
        return []
    named = [f"{where}{name}" for name in ways]
    said = " and ".join(f"{where}{name}" for name in given) or "none of them"
    return [f"exactly one of {', '.join(named[:-1])} and {named[-1]} says how long to train, here {said}"]


def _shares_and_workers(config: TrainingConfig | FinetuneConfig, where: str) -> list[str]:
    found = []
    if config.warmup_share + config.decay_share > 1:
        found.append(f"{where}warmup_share and {where}decay_share together are more than the whole run")
    few, many = fewest(config.workers), most(config.workers)
    if few < 0 or many < few or (not isinstance(config.workers, int) and not few):
        found.append(f"{where}workers is {shown(config.workers)}, it must be 0 or more, or two numbers from 1, the fewest first")
        return found
    tensor, size = max(1, config.tensor_parallel), config.shard_size
    if size and (config.parallel != "hybrid" or size % tensor):
        found.append(f"{where}shard_size {size} goes with hybrid alone, and has to be a multiple of {where}tensor_parallel")
    elif (size or tensor > 1) and not worker_counts(config.workers, 0, tensor, size):
        field, value = ("shard_size", size) if size else ("tensor_parallel", tensor)
        found.append(f"{where}{field} {value} takes {where}workers in a multiple of it, here are {shown(config.workers)}")
    elif many and not worker_counts(config.workers, config.batch_size, tensor, size):
        together = f", {tensor} of which compute together" if tensor > 1 else ""
        found.append(f"{where}batch_size {config.batch_size} does not divide among {shown(config.workers)} workers{together}")
    if tensor > 1 and config.precision == "fp8":
        found.append(f"{where}precision fp8 and {where}tensor_parallel do not go together: take bf16, or 1")
    return found
