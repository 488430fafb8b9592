"""What a training costs before it is run: tokens, FLOPs, hours, money. Loads without torch."""

from dataclasses import dataclass
from typing import Final

from infra.store.errors import InputError
from llm.models.config import CausalConfig
from llm.training.config import TrainingConfig
from llm.training.gpus import GPU

_RECOMPUTING: Final = 0.75  # full checkpointing goes forward twice: 8 FLOPs are done where MFU counts 6
_SMALL: Final = 100_000_000  # parameters; no published run of a smaller model is among the sources


@dataclass(frozen=True)
class Cost:
    """Counts of one training run. FLOPs are those of the model, forward and backward; what is computed again does not count."""

    parameters: int
    steps: int
    tokens: int
    tokens_per_parameter: float
    flops_per_token: int
    flops: int

    def seconds(self, tokens_per_second: float) -> float:
        return self.tokens / tokens_per_second


def cost(model: CausalConfig, training: TrainingConfig, *, training_tokens: int) -> Cost:
    """training_tokens: those of the training split; only `epochs` depends on it."""
    parameters = model.parameters()
    steps = training.total_steps(parameters=parameters, training_tokens=training_tokens)
    flops, tokens = model.flops_per_token(training.sequence_length), steps * training.tokens_per_step
    return Cost(parameters, steps, tokens, tokens / parameters, flops, flops * tokens)


@dataclass(frozen=True)
class Rent:
    """A run on `gpus` GPUs of one kind: `mfu` is the share of their peak that the model's FLOPs take."""

    gpu: str
    gpus: int
    mfu: float
    mfu_source: str
    tokens_per_second: float
    seconds: float
    gpu_hours: float
    price: float
    price_source: str
    money: float


def rent(
    run: Cost,
    training: TrainingConfig,
    gpu: GPU,
    gpus: int,
    *,
    mfu: float = 0.0,
    tokens_per_second: float = 0.0,
    price: float | None = None,
    prices_as_of: str = "",
) -> Rent:
    """What a run takes on GPUs, at their usual MFU, a given one, or a given speed.

    Raises InputError where their number does not divide the batch, and for fp32.
    """
    if training.batch_size % gpus:
        raise InputError(
            f"training.batch_size {training.batch_size} does not divide among {gpus} GPUs",
            where="--gpus",
            mend="Give each the same number of rows.",
        )
    if training.precision == "fp32":
        raise InputError(
            f"the peak of a {gpu.title} is known in bf16, the recipe says fp32",
            where="training.precision",
            mend="Set it to auto or bf16: --set training.precision=auto.",
        )
    peak = gpus * gpu.flops
    if tokens_per_second:
        speed, share, source = tokens_per_second, tokens_per_second * run.flops_per_token / peak, "from the given speed"
    elif mfu:
        speed, share, source = mfu * peak / run.flops_per_token, mfu, "given"
    else:
        again = training.activation_checkpointing == "full"
        share = gpu.mfu * (_RECOMPUTING if again else 1.0)
        source = gpu.mfu_source + (", less a quarter for computing activations again" if again else "")
        source += "; so small a model reaches less" if run.parameters < _SMALL else ""
        speed = share * peak / run.flops_per_token
    seconds = run.seconds(speed)
    hours = gpus * seconds / 3600
    each, said = (gpu.price, f"{gpu.price_source}, {prices_as_of}") if price is None else (price, "given")
    return Rent(gpu.name, gpus, share, source, speed, seconds, hours, each, said, each * hours)
