"""The figure of parallel coordinates: every trial as a line across the axes of its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analysis.report.plots import Parallel
from analysis.report.svg import BEST, GROUND, INK, new_canvas, shorten_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


def parallel_figure(plot: Parallel) -> Canvas:
    """The figure of parallel coordinates.

    Axes are stacked vertically, so that a narrow screen shows them all; the last is the value's.
    """
    import matplotlib as mpl
    import numpy as np
    from matplotlib.collections import LineCollection
    from matplotlib.colors import LinearSegmentedColormap

    figure = new_canvas(0.62 * len(plot.axes) + 0.45)
    axes = figure.subplots()
    # Without the ends of the colour map, which are invisible on a dark or on a light page.
    colours = LinearSegmentedColormap.from_list("", mpl.colormaps["cividis"](np.linspace(0.25, 0.9, 64)))
    few = len(plot.lines) <= 60
    runs = []
    for line in plot.lines:
        points = [(place, row) for row, place in enumerate(line.places) if place is not None]
        runs.append(np.array(points))
    last = len(plot.axes) - 1
    ranks = [run[-1][0] for run in runs]
    axes.add_collection(
        LineCollection(
            runs, colors=[colours(rank) for rank in ranks], linewidths=1.1 if few else 0.6,
            alpha=0.8 if few else 0.45, zorder=2,
        )
    )  # fmt: skip
    for run, line in zip(runs, plot.lines, strict=True):
        if line.trial == plot.best:
            axes.plot(run[:, 0], run[:, 1], color=BEST, linewidth=2.4, marker="D", markersize=5, zorder=5)
    for row, axis in enumerate(plot.axes):
        if row < last:
            axes.plot([0, 1], [row, row], color=INK, linewidth=0.9, zorder=3)
        crowded = not axis.gradual and len(axis.ticks) > 4
        for number, (place, text) in enumerate(axis.ticks):
            axes.plot([place, place], [row - 0.06, row + 0.06], color=INK, linewidth=0.9, zorder=3)
            below = 9 if crowded and number % 2 else 0
            edge = "left" if place <= 0.02 else "right" if place >= 0.98 else "center"
            _label(
                axes, shorten_name(text, 15), (place, row), (0, -6 - below), ha=edge, va="top", fontsize=7.5
            )
        _label(axes, axis.name, (0, row), (0, 5), ha="left", va="bottom", fontsize=8.5, fontweight="bold")
    strip = np.linspace(0, 1, 256)[None]
    axes.imshow(
        strip, extent=(0, 1, last + 0.05, last - 0.05), aspect="auto", cmap=colours, zorder=3,
        interpolation="nearest",
    )  # fmt: skip
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(last + 0.5, -0.45)
    axes.axis("off")
    return figure


def _label(axes: Any, text: str, at: tuple[float, float], shift: tuple[float, float], **given: Any) -> None:
    """Write text on its own background, so that no line crosses it."""
    axes.annotate(text, at, xytext=shift, textcoords="offset points", zorder=6, bbox=GROUND, **given)
