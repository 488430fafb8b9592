"""Pictures of what a run learnt: its loss curve, and what a classifier takes for what."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from infra.store.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZE, _DPI = (10.0, 4.2), 120
_MOST_LABELS: Final = 30
_POINTS: Final = 1_500  # more than the picture has columns for
_INK, _SOFT, _GRID = "#1f2937", "#6b7280", "#e5e7eb"
_TRAINING, _VALIDATION = "#2563eb", "#c2410c"
_REFERENCES: Final = ("#0f766e", "#7c3aed", "#a16207", "#be185d")


def loss_curve(
    steps: Sequence[int],
    losses: Sequence[float],
    path: Path,
    *,
    validation: Sequence[tuple[int, float]],
    references: Mapping[str, float],
    title: str,
    measured: str = "Held-out text, bits per byte",
) -> None:
    """Draws a PNG of less than 80 KB: the training loss on the left, what is `measured` on held-out text on the right.

    steps, losses: (n,), nats per target. validation: (step, value of what is measured). references: values of what else was
    tried on such text, each a named line. The same numbers give the same bytes. Raises InputError where no loss is finite.
    """
    from matplotlib import rc_context, rcParamsDefault  # matplotlib costs 0.5 s, and only a finished run draws
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    x, y = np.asarray(steps, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    finite = np.isfinite(y)
    if not finite.any():
        raise InputError("no finite loss to draw", where=str(path), mend="Train at least one step.")
    x, y = x[finite], y[finite]
    own = {name: value for name, value in rcParamsDefault.items() if not name.startswith("backend")}  # nobody's matplotlibrc
    with rc_context({**own, "font.size": 9.5, "axes.edgecolor": _GRID, "xtick.color": _SOFT, "ytick.color": _SOFT}):
        layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08, wspace=0.05)
        figure = Figure(figsize=_SIZE, dpi=_DPI, layout=layout, facecolor="white")
        figure.suptitle(title, x=0.012, ha="left", color=_INK, fontsize=12, fontweight="bold", parse_math=False)
        if validation or references:
            left, right = figure.subplots(1, 2)
            _draw_measured(right, validation, references, float(x.max()), measured)
        else:
            left = figure.subplots()
        _draw_loss(left, x, y)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="png", metadata={"Software": None})


def confusion_matrix(labels: Sequence[str], counts: NDArray[np.int64], path: Path, *, title: str) -> None:
    """Draws a PNG: how many texts of each label (a row) were taken for which (a column), shaded by the share of the row.

    counts: (n_labels, n_labels). Of more than 30 labels, those with the most texts are drawn, and the title says so.
    """
    from matplotlib import rc_context, rcParamsDefault  # as above
    from matplotlib.figure import Figure

    shown = np.sort(np.argsort(-counts.sum(axis=1), kind="stable")[:_MOST_LABELS])
    drawn, names = counts[np.ix_(shown, shown)], [labels[place] for place in shown]
    title += f", the {len(shown)} largest of {len(labels)} labels" if len(shown) < len(labels) else ""
    shares = drawn / np.maximum(1, drawn.sum(axis=1, keepdims=True))
    side = 3.2 + 0.42 * len(names)
    own = {name: value for name, value in rcParamsDefault.items() if not name.startswith("backend")}
    with rc_context({**own, "font.size": 9, "xtick.color": _SOFT, "ytick.color": _SOFT}):
        figure = Figure(figsize=(side + 0.6, side), dpi=_DPI, layout="constrained", facecolor="white")
        figure.suptitle(title, x=0.012, ha="left", color=_INK, fontsize=12, fontweight="bold", parse_math=False)
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor", parse_math=False)
        axes.set_yticks(range(len(names)), names, parse_math=False)
        axes.set_xlabel("taken for", color=_SOFT)
        axes.set_ylabel("is", color=_SOFT)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        for row, column in zip(*np.nonzero(drawn), strict=True):
            colour = "white" if shares[row, column] > 0.55 else _INK
            axes.text(column, row, f"{drawn[row, column]:,}", ha="center", va="center", color=colour, fontsize=8)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="png", metadata={"Software": None})


def smoothed(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """The mean of up to `width` values around each: (n,).

    At the start, where the loss falls fast, fewer on both sides, so that the first stays in place; at the end only the right
    side runs out, so that the last is not the noise of one step.
    """
    n, place = len(values), np.arange(len(values))
    before = np.minimum(width // 2, place)
    after = np.minimum(before, n - 1 - place)
    total = np.concatenate([[0.0], np.cumsum(values)])
    means: NDArray[np.float64] = (total[place + after + 1] - total[place - before]) / (before + after + 1)
    return means


def spread(places: Sequence[float], gap: float) -> list[float]:
    """The places, in their order, moved up where they would be closer than `gap` to the one below."""
    moved = [0.0] * len(places)
    lowest = float("-inf")
    for index in sorted(range(len(places)), key=lambda index: places[index]):
        moved[index] = lowest = max(places[index], lowest)
        lowest += gap
    return moved


def _draw_loss(axes: "Axes", x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    line = smoothed(y, max(1, len(y) // 25))
    kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), _POINTS)).round().astype(int))
    _frame(axes, "Training loss, nats per target", x.max())
    axes.plot(x[kept], y[kept], color=_TRAINING, alpha=0.25, linewidth=0.8)
    marker = "o" if len(x) == 1 else ""
    axes.plot(x[kept], line[kept], color=_TRAINING, linewidth=1.8, marker=marker, markersize=4, clip_on=False)
    _label(axes, [(f"{line[-1]:.2f}", line[-1], _TRAINING)])


def _draw_measured(
    axes: "Axes", validation: Sequence[tuple[int, float]], references: Mapping[str, float], last: float, heading: str
) -> None:
    _frame(axes, heading, last)
    labels = []
    for place, (name, value) in enumerate(references.items()):
        colour = _REFERENCES[place % len(_REFERENCES)]
        axes.axhline(value, color=colour, linewidth=1.2, linestyle=(0, (5, 3)))
        labels.append((f"{value:.2f} {name}", value, colour))
    if points := [(step, value) for step, value in validation if np.isfinite(value)]:
        x, y = zip(*points, strict=True)
        axes.plot(x, y, color=_VALIDATION, linewidth=1.8, marker="o", markersize=4 if len(x) < 40 else 0, clip_on=False)
        labels.append((f"{y[-1]:.2f} validation", y[-1], _VALIDATION))
    _label(axes, labels)


def _frame(axes: "Axes", heading: str, last: float) -> None:
    axes.set_title(heading, loc="left", color=_SOFT, fontsize=9.5)
    axes.set_xlabel("step", color=_SOFT)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlim(0, last)
    axes.margins(y=0.08)
    axes.locator_params(axis="x", nbins=6, integer=True)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)


def _label(axes: "Axes", labels: Sequence[tuple[str, float, str]]) -> None:
    """Writes (text, value, colour) to the right of the axes, at the value's height or as near as the others let it."""
    low, high = axes.get_ylim()
    heights = spread([(value - low) / (high - low) for _, value, _ in labels], 0.055)
    for (text, _, colour), height in zip(labels, heights, strict=True):
        axes.text(1.025, height, text, transform=axes.transAxes, va="center", color=colour, parse_math=False)
