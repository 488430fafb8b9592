"""What a kind of finetuning brings to the loop, on the CPU; `llm.training.finetune` does the rest."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from llm.events import Measure, Sampled
from llm.training.numerics import Numerics
from llm.training.step import Objective


@dataclass(frozen=True, eq=False)
class Task:
    """A model made from the base, its objective, and the examples in the form that the objective understands."""

    model: nn.Module
    objective: Objective
    lengths: NDArray[np.int64]  # (n,) tokens of each training example
    read: Callable[[NDArray[np.int64]], Tensor]  # numbers of training examples -> one int64 batch
    looks: Sequence[Tensor]  # batches of validation examples
    measure: Measure
    validate: Callable[[Sequence[Tensor], Numerics], tuple[float, float]]  # -> nats per target, the measure's value
    among: int = 1  # steps whose examples are dealt out among them by length
    sample: Callable[[int, Any], Sampled | None] = lambda step, model: None  # text of a model to show after a step
