"""What the loop asks of a training job and of how it trains, whatever is trained. Loads without torch."""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from llm.training.config import ScheduleName

if TYPE_CHECKING:
    from llm.training.numerics import Numerics


class LoopConfig(Protocol):
    """How each update is made, and how often to look and to save; what each means stands in the configurations themselves."""

    @property
    def batch_size(self) -> int: ...
    @property
    def schedule(self) -> ScheduleName: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def warmup_share(self) -> float: ...
    @property
    def decay_share(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def gradient_clip(self) -> float: ...
    @property
    def validate_every(self) -> int: ...
    @property
    def checkpoint_every(self) -> int: ...


class TrainingJob(Protocol):
    """All that a worker has to know, as plain data: it opens the store and what lies in it itself."""

    @property
    def stage(self) -> str:
        """The stage's name, for errors."""
        ...

    @property
    def store_url(self) -> str: ...
    @property
    def run(self) -> str: ...
    @property
    def earlier_runs(self) -> tuple[str, ...]:
        """Those whose checkpoints may be gone on with."""
        ...

    @property
    def scratch(self) -> Path: ...
    @property
    def training(self) -> LoopConfig: ...
    @property
    def steps(self) -> int: ...
    @property
    def numerics(self) -> "Numerics": ...
