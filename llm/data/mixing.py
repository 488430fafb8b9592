"""Several sources in one corpus, mixed by weights in tokens: how often each one's documents are taken. Pure arithmetic."""

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from infra.store.errors import InputError

Total = Literal["keep", "once"]
"""keep: as many tokens as there are, so that a heavy source is repeated. once: as many as can be had without repeating any."""
MAX_TIMES: Final = 4.0
"""Repeated text is worth nearly as much as new text up to four epochs, and less and less after that (Muennighoff et al., 2023)."""
_WHERE: Final = "data.sources"


@dataclass(frozen=True)
class Taken:
    """What of a source is trained on: `share` of all tokens, which is `times` its `tokens`. Weights are shares of their sum."""

    tokens: int
    share: float
    times: float

    @property
    def copies(self) -> int:
        """How often every document is taken."""
        return math.floor(self.times)

    @property
    def more(self) -> float:
        """Tokens of the documents that are taken once more."""
        return (self.times - self.copies) * self.tokens


def mix(
    tokens: Mapping[str, int], weights: Mapping[str, float], *, total: Total = "keep", max_times: float = MAX_TIMES
) -> dict[str, Taken]:
    """How often each source is taken, so that their tokens are in the proportion of `weights`.

    tokens: training tokens of each source. What would have to be repeated more than `max_times` is refused and not quietly made
    less: the total would shrink with it, by as much as the source is small, and nobody would look at why a run is so short. Raises
    InputError for that, and for weights that do not fit the sources.
    """
    check_weights(tokens, weights)
    if empty := [name for name in weights if not tokens[name]]:
        raise InputError(f"source {empty[0]!r} has no training tokens", where=_WHERE, mend="Leave it out, or give it more text.")
    shares = {name: weight / sum(weights.values()) for name, weight in weights.items()}
    wanted = sum(tokens.values()) if total == "keep" else min(tokens[name] / share for name, share in shares.items())
    taken = {name: Taken(tokens[name], share, wanted * share / tokens[name]) for name, share in shares.items()}
    name = max(taken, key=lambda name: taken[name].times)
    if taken[name].times > max_times * (1 + 1e-9):
        share, most = shares[name], max_times * tokens[name] / wanted
        raise InputError(
            f"source {name!r} has {tokens[name]:,} training tokens and would be repeated {taken[name].times:.1f} times to be "
            f"{share:.1%} of {wanted:,.0f}; more than {max_times:g} times teaches less and less",
            where=_WHERE,
            mend=f"Give it a share of {math.floor(most * 1000) / 10:.1f}% at most, or more text; data.mix=once repeats none.",
        )
    return taken


def check_weights(sources: Iterable[str], weights: Mapping[str, float]) -> None:
    """Raises InputError unless each source has a weight above 0, and each weight a source."""
    known = sorted(sources)
    for name, weight in weights.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            mend = f"Did you mean {near[0]}?" if near else f"The sources are {', '.join(known) or 'none'}."
            raise InputError(f"no source is named {name!r}", where=_WHERE, mend=mend)
        if not (weight > 0 and math.isfinite(weight)):
            raise InputError(
                f"source {name!r} has the weight {weight:g}", where=_WHERE, mend="Give a number above 0, or leave the source out."
            )
    if missing := [name for name in known if name not in weights]:
        raise InputError(
            f"source {missing[0]!r} has no weight, others have", where=_WHERE, mend="Give every source a weight, or none of them."
        )


def source_of(path: str, sources: Iterable[str]) -> str:
    """The source that a document's `source` (`<name of the source>/<file>`) belongs to; empty where it is none of these."""
    fitting = [name for name in sources if path == name or path.startswith(f"{name}/")]
    return max(fitting, key=len, default="")
