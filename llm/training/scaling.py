"""What a training will end at, before it is run: loss as a power law of size and data. Loads without torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

_FLATTEST = 0.01  # an exponent at which nothing changes with size or data


@dataclass(frozen=True)
class Outcome:
    """One finished training: parameters of the blocks, tokens seen, bits per byte on held-out text."""

    parameters: float
    tokens: float
    bits_per_byte: float


@dataclass(frozen=True)
class PowerLaw:
    """Bits per byte = floor + a · N^-alpha + b · D^-beta (Hoffmann et al., 2022), N parameters of the blocks, D tokens.

    measured: (least, most) of N and of D that it was fitted on; beyond them it is a guess.
    """

    floor: float
    a: float
    alpha: float
    b: float
    beta: float
    measured: tuple[tuple[float, float], tuple[float, float]]

    def bits_per_byte(self, parameters: float, tokens: float) -> float:
        return self.floor + self.a * parameters**-self.alpha + self.b * tokens**-self.beta

    def covers(self, parameters: float, tokens: float, within: float = 3.0) -> bool:
        """Whether both lie in what was measured, or not farther out than by a factor `within`."""
        return all(
            least / within <= value <= most * within
            for value, (least, most) in zip((parameters, tokens), self.measured, strict=True)
        )

    def corrected(self, outcomes: Sequence[Outcome]) -> float:
        """By which factor trainings on another text, harder or easier, ended elsewhere: geometric mean, 1 without any."""
        if not outcomes:
            return 1.0
        ratios = [done.bits_per_byte / self.bits_per_byte(done.parameters, done.tokens) for done in outcomes]
        return float(np.exp(np.mean(np.log(ratios))))


# Fitted to eight runs of `python -m benchmarks.depth` on English books with the default recipe, depths 2 to 4, 0.1 to 0.4 tokens
# a parameter; the largest error is 0.5 % (benchmarks/LOG.md, 2026-11-26).
LADDER: Final = PowerLaw(0.6, 2.8136, 0.22134, 5.6349, 0.11228, ((4.27e5, 3.21e6), (9.5e4, 8.5e5)))


def fit(outcomes: Sequence[Outcome], floor: float, exponents: tuple[float, float] | None = None) -> PowerLaw:
    """The law nearest to what was measured, in squared relative error; `floor` is given, a few small runs cannot tell it.

    Linear in a and b for given exponents; without these they are searched on a grid and then ever more finely. Needs runs of
    two sizes and two amounts of data at least.
    """
    n, d, y = (np.array([getattr(done, name) for done in outcomes]) for name in ("parameters", "tokens", "bits_per_byte"))
    if len(set(n.tolist())) < 2 or len(set(d.tolist())) < 2:
        raise ValueError("a power law of size and data takes runs of two sizes and two amounts of data at least")
    n0, d0 = float(np.exp(np.log(n).mean())), float(np.exp(np.log(d).mean()))  # near 1 the columns are of one size

    def solve(alpha: float, beta: float) -> tuple[float, float, float]:
        columns = np.stack([(n / n0) ** -alpha, (d / d0) ** -beta], axis=1) / y[:, None]
        (a, b), *_ = np.linalg.lstsq(columns, (y - floor) / y, rcond=None)
        error = float(np.square(columns @ (a, b) - (y - floor) / y).sum())
        return (error if min(a, b) >= 0 else np.inf), float(a), float(b)

    best, span = exponents or (0.3, 0.3), 0.3
    for _ in range(0 if exponents else 12):
        grid = [(best[0] + i * span / 4, best[1] + j * span / 4) for i in range(-4, 5) for j in range(-4, 5)]
        best = min(((max(alpha, _FLATTEST), max(beta, _FLATTEST)) for alpha, beta in grid), key=lambda pair: solve(*pair)[0])
        span /= 2
    error, a, b = solve(*best)
    if not np.isfinite(error) or min(best) <= _FLATTEST:
        raise ValueError("loss does not fall with size and data in these runs: there is no power law to fit")
    alpha, beta = best
    measured = ((float(n.min()), float(n.max())), (float(d.min()), float(d.max())))
    return PowerLaw(floor, a * n0**alpha, alpha, b * d0**beta, beta, measured)
