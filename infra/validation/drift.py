"""How far data has moved since the last version of its dataset: numbers that expectations bound like any other."""

import math
from collections.abc import Mapping, Sequence
from typing import Any


def drift(now: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, float]:
    """Between two profiles' documents (`numbers`, `shares`, `histograms`), as far as both have what is compared."""
    found: dict[str, float] = {}
    numbers, old = now.get("numbers", {}), before.get("numbers", {})
    if old.get("mean_bytes") and "mean_bytes" in numbers:
        found["mean_bytes_drift"] = abs(numbers["mean_bytes"] / old["mean_bytes"] - 1)
    if "rejected_share" in numbers and "rejected_share" in old:
        found["rejected_drift"] = abs(numbers["rejected_share"] - old["rejected_share"])
    for name, shares in (("language_drift", "languages"), ("label_drift", "labels")):
        one, other = (each.get("shares", {}).get(shares) for each in (now, before))
        if one and other:
            found[name] = total_variation(one, other)
    lengths = [each.get("histograms", {}).get("bytes") for each in (now, before)]
    if all(lengths):
        found["length_drift"] = stability(*(dict(zip(each["edges"], each["counts"], strict=False)) for each in lengths))
    return found


def total_variation(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Half the sum of the differences between two distributions over names, given as counts or shares: 0 the same, 1 disjoint."""
    return sum(abs(share - there) for share, there in _paired(one, other)) / 2


def stability(one: Mapping[float, int], other: Mapping[float, int]) -> float:
    """Population stability index of two histograms (counts by bin): the symmetric Kullback-Leibler divergence.

    Below 0.1 nothing has moved, above 0.25 much has, as the rule of thumb goes. Each bin counts half a row more (Jeffreys'
    prior), and what chance alone makes of so few rows (Yurdakul, 2018) is taken off: small data does not seem to move.
    """
    bins = {*one, *other}
    sizes = [sum(each.values()) + len(bins) / 2 for each in (one, other)]
    shares = [[(each.get(name, 0) + 0.5) / size for name in sorted(bins)] for each, size in zip((one, other), sizes, strict=True)]
    index: float = sum((share - there) * math.log(share / there) for share, there in zip(*shares, strict=True))
    return max(0.0, index - (len(bins) - 1) * sum(1 / size for size in sizes))


def _paired(one: Mapping[Any, float], other: Mapping[Any, float]) -> Sequence[tuple[float, float]]:
    totals = sum(one.values()) or 1, sum(other.values()) or 1
    return [(one.get(name, 0) / totals[0], other.get(name, 0) / totals[1]) for name in sorted({*one, *other})]
