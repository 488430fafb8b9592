"""What the code of `llm` has to say while it works: typed events to an observer, which alone knows about screens and trackers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Measure = Literal["bits_per_byte", "accuracy"]
"""What a training is judged by while it runs: text by bits per byte (lower is better), classes by accuracy."""


@dataclass(frozen=True)
class StepDone:
    """One optimizer update. `loss` in nats per target, `tokens` in this step, `tokens_seen` in all.

    `seconds` of wall time, `waited` of them for the batch. `workers` made it together; `memory_bytes` are the peak of the first
    of them; `mfu` is the share of their peak that the model's FLOPs took, None where the peak or the FLOPs are not known.
    """

    step: int
    steps: int
    loss: float
    tokens: int
    tokens_seen: int
    learning_rate: float
    gradient_norm: float
    seconds: float
    waited: float = 0.0
    workers: int = 1
    memory_bytes: int | None = None
    mfu: float | None = None

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds

    @property
    def data_wait_share(self) -> float:
        return self.waited / self.seconds


@dataclass(frozen=True)
class Validated:
    """A look at what is held out for validation: `loss` in nats per target, and the `value` of what the training measures."""

    step: int
    loss: float
    measure: Measure
    value: float


@dataclass(frozen=True)
class Sampled:
    """A prompt and how the model goes on after `step` updates."""

    step: int
    prompt: str
    text: str


@dataclass(frozen=True)
class CheckpointSaved:
    """Training can resume from `step` from now on; `name` is the checkpoint's folder in the store."""

    step: int
    name: str


@dataclass(frozen=True)
class Resumed:
    """Training goes on after `step`, from the checkpoint `name`."""

    step: int
    name: str


@dataclass(frozen=True)
class Restarted:
    """Training is at work again after `step`: the next step is made, `pause` seconds after the last one before.

    `lost`: steps made after the checkpoint, and now again; `tokens` and `seconds` of work in them. `name` is the checkpoint's, or
    nothing where there was none. None where nobody here saw the steps before.
    """

    step: int
    name: str
    lost: int | None
    tokens: int | None
    seconds: float | None
    pause: float | None


@dataclass(frozen=True)
class Spent:
    """What a training took: seconds of wall time by workers, those of attempts that failed apart. `device` is cpu or cuda.

    `money` in US dollars for both together, at the price of `price_source`; None where no price is known.
    """

    device: str
    worker_seconds: float
    failed_worker_seconds: float
    failed_attempts: int
    money: float | None
    price_source: str


@dataclass(frozen=True)
class Skipped:
    """The update of `step` was not made, and why: its loss or gradient was not finite, or far from those before it."""

    step: int
    why: str


@dataclass(frozen=True)
class RolledBack:
    """Training went back to where `step` updates were made; the batches of the steps `first` to `last` are not read again."""

    step: int
    first: int
    last: int
    why: str


@dataclass(frozen=True)
class Progress:
    """`done` of `total` units of a stage; `total` is 0 where nobody knows it beforehand."""

    what: str
    done: int
    total: int
    unit: str


@dataclass(frozen=True)
class Noted:
    """Something a person should know: a decision taken, a limit met."""

    message: str


@dataclass(frozen=True)
class Tabled:
    """Rows of text under a head, for a person to read."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Event = (
    StepDone
    | Validated
    | Sampled
    | CheckpointSaved
    | Resumed
    | Restarted
    | Spent
    | Skipped
    | RolledBack
    | Progress
    | Noted
    | Tabled
)
Observer = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The observer that looks away."""
