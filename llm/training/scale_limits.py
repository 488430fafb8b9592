"""Where a larger cluster stops paying: the batch that is worth its tokens, and machines that fail. Loads without torch."""

import math
from dataclasses import dataclass
from typing import Final

# Dubey et al., 2024, section 3.3.4: 466 interruptions in 54 days on 16,384 GPUs, 419 of them unexpected.
_DAYS: Final = 54.0
_GPUS: Final = 16_384
_UNEXPECTED: Final = 419
SECONDS_BETWEEN_FAILURES: Final = _DAYS * 86_400 * _GPUS / _UNEXPECTED
"""Of one GPU and its share of the machine: 2,112 days."""


@dataclass(frozen=True)
class Failures:
    """What failures cost a run. Seconds; shares of the time.

    between: from one to the next. interval: between checkpoints. lost: to saving, to steps made twice and to starting again.
    """

    between: float
    interval: float
    lost: float


def failures(gpus: int, *, saving: float, writing: float = 0.0, restart: float, interval: float = 0.0) -> Failures:
    """saving: how long a checkpoint holds up training; writing: how long it then takes beside it. restart: from a failure to the
    next step. interval: 0 takes the best one, which is not shorter than `writing`.

    The best interval is Young's (1974), the square root of 2 · saving · between, in Daly's form (2006): less `saving` itself.
    """
    between = SECONDS_BETWEEN_FAILURES / gpus
    best = interval or max(saving, writing, math.sqrt(2 * saving * between) - saving)
    again = best / 2 + writing  # what was computed since the newest checkpoint that is whole
    return Failures(between, best, min(1.0, saving / (best + saving) + (again + restart) / between))


def slow_machine(machines: int, share: float) -> float:
    """The chance that at least one is slow, where that `share` of them is: all the others wait for it in every step."""
    return 1.0 - (1.0 - share) ** machines


def critical_batch(parameters: float, tokens: float) -> float:
    """Tokens of a batch at which a run needs twice its fewest tokens, near its end.

    2e8 · L^(-1/0.21) (Kaplan et al., 2020), L in nats a token by Hoffmann et al. (2022) for `parameters` trained on `tokens`.
    """
    loss = 1.69 + 406.4 * parameters**-0.34 + 410.7 * tokens**-0.28
    return float(2e8 * loss ** (-1 / 0.21))


def more_tokens(batch: float, critical: float) -> float:
    """By which factor a run needs more tokens in batches of so many than in tiny ones (McCandlish et al., 2018)."""
    return 1.0 + batch / critical
