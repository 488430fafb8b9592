"""Pictures for the page: a histogram over a logarithmic axis, as SVG, and how far a number is from its limit, as boxes."""

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

_WIDTH, _HEIGHT = 480, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 8, 10, 26


def histogram(now: Mapping[str, Any], before: Mapping[str, Any] | None = None, *, words: str) -> str:
    """Counts in bins, edges on a logarithmic axis in bytes; the earlier version's shape as a dashed line over it.

    now, before: `edges` and `counts`, as a profile's document has them. An earlier one is drawn to the size of this one.
    """
    bins = list(_bins(now))
    old = list(_bins(before)) if before else []
    if not bins:
        return ""
    low, high = (f([edge for each in (bins, old) for (start, end, _) in each for edge in (start, end)]) for f in (min, max))
    most = max(count for *_, count in bins)
    total, old_total = sum(count for *_, count in bins), sum(count for *_, count in old) or 1
    scaled = [(start, end, count * total / old_total) for start, end, count in old]
    top = _nice(min(max([most, *(count for *_, count in scaled)]), 1.6 * most))  # an earlier peak may be cut off

    def x(edge: float) -> float:
        return _LEFT + (_log(edge) - _log(low)) / max(1e-9, _log(high) - _log(low)) * (_WIDTH - _LEFT - _RIGHT)

    def y(count: float) -> float:
        return _HEIGHT - _BOTTOM - min(1.0, count / top) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(words)}">']
    for tick in (0.0, top / 2, top):
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{_short(tick)}</text>')
    for start, end, count in bins:
        if count:
            width = max(1.0, x(end) - x(start) - 1)
            said = f"{size(start)} to {size(end)}: {count:,} ({count / total:.1%})"
            parts.append(
                f'<rect class="bar" x="{x(start):.1f}" y="{y(count):.1f}" width="{width:.1f}" '
                f'height="{max(1.0, y(0) - y(count)):.1f}" rx="1.5"><title>{said}</title></rect>'
            )
    if scaled:
        steps = "".join(f"L{x(start):.1f} {y(count):.1f}L{x(end):.1f} {y(count):.1f}" for start, end, count in scaled)
        parts.append(f'<path class="before" d="M{x(scaled[0][0]):.1f} {y(0):.1f}{steps}L{x(scaled[-1][1]):.1f} {y(0):.1f}"/>')
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(0):.1f}" y2="{y(0):.1f}"/>')
    labels = [f'<text x="{x(tick):.1f}" y="{_HEIGHT - 8}" text-anchor="middle">{size(tick)}</text>' for tick in _ticks(low, high)]
    return "".join([*parts, *labels, "</svg>"])


def gauge(observed: float, bound: float, *, at_most: bool, verdict: str) -> str:
    """A number on its scale with the limit it broke: the part that is allowed is tinted, the limit a stroke, the number a bead."""
    if not (math.isfinite(observed) and math.isfinite(bound)) or observed == bound:
        return ""
    decades = bound > 0 and observed > 0 and max(observed, bound) / min(observed, bound) > 50
    low = min(observed, bound) / 3 if decades else min(0.0, observed, bound)
    high = max(observed, bound) * 3 if decades else max(0.0, observed, bound) * 1.12

    def x(value: float) -> float:
        share = math.log(value / low) / math.log(high / low) if decades else (value - low) / (high - low)
        return 1 + 98 * share

    left, width = (0.0, x(bound)) if at_most else (x(bound), 100 - x(bound))
    return (
        f'<div class="gauge" aria-hidden="true"><i class="allowed" style="left:{left:.1f}%;width:{width:.1f}%"></i>'
        f'<i class="limit" style="left:{x(bound):.1f}%"></i><i class="bead {verdict}" style="left:{x(observed):.1f}%"></i></div>'
    )


def size(count: float) -> str:
    """Bytes for people, short enough for an axis: 1.4 kB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _bins(given: Mapping[str, Any]) -> Iterator[tuple[float, float, int]]:
    edges: Sequence[float] = given["edges"]
    return zip(edges, edges[1:], given["counts"], strict=False)


def _log(value: float) -> float:
    return math.log10(max(0.5, value))


def _ticks(low: float, high: float) -> list[float]:
    """Powers of ten inside; where there are few, the ends as well."""
    powers = [10.0**power for power in range(13) if low <= 10.0**power <= high]
    return powers if len(powers) > 1 else sorted({*powers, max(1.0, low), high})


_STEPS: Final = (1, 2, 4, 6, 8, 10)


def _nice(value: float) -> float:
    """A round number that is not below, with a round half."""
    power = 10.0 ** math.floor(math.log10(max(1.0, value)))
    return max(2.0, next(step * power for step in _STEPS if step * power >= value))


def _short(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if value >= 1e4 else f"{value:,.0f}"
