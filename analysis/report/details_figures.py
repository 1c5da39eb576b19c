"""Drawing of precision by recall, and of what is taken for what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analysis.report.plots import Confusion, PrecisionRecall
from analysis.report.svg import CYCLE, CYCLE_MARKERS, FAINT, INK, new_canvas, shorten_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

MOST_NUMBERS = 12
"""Up to this many rows each cell has its number."""
STYLES = ("-", "--", "-.", ":")


def precision_recall_figure(plot: PrecisionRecall) -> Canvas:
    """A line for each class, and a thick one for their mean."""
    rows = -(-(len(plot.curves) + 1) // 3)
    figure = new_canvas(3.3 + 0.2 * rows)
    axes = figure.subplots()
    recalls = np.linspace(0, 1, len(plot.mean))
    for place, (name, values) in enumerate(plot.curves):
        axes.plot(
            recalls, values, color=CYCLE[place % len(CYCLE)], linewidth=1.1,
            linestyle=STYLES[place // len(CYCLE) % len(STYLES)], label=shorten_name(name),
            marker=CYCLE_MARKERS[place % len(CYCLE_MARKERS)], markevery=20, markersize=3.5,
        )  # fmt: skip
    axes.plot(recalls, plot.mean, color=INK, linewidth=2.4, label="mean")
    axes.set_xlim(0, 1.005)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")
    axes.grid()
    figure.legend(loc="outside lower center", ncols=3, handlelength=2.6)
    return figure


def confusion_figure(plot: Confusion) -> Canvas:
    """A square for each pair of truth and prediction, dark where its share of the truth is large."""
    count = len(plot.names)
    figure = new_canvas(min(5.0, 1.6 + 0.42 * count))
    axes = figure.subplots()
    shares = np.array(plot.shares)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    if count <= MOST_NUMBERS:
        for row in np.flatnonzero(shares.any(axis=1)).tolist():  # the others have no truth
            for column in range(count):
                value = shares[row, column]
                axes.text(
                    column, row, f"{value:.2f}" if value > 0 else "0", ha="center", va="center", fontsize=7.5,
                    color="#ffffff" if value > 0.55 else "#1f2328",  # not the page's colours
                )  # fmt: skip
    names = [shorten_name(name, 16) for name in plot.names]
    axes.set_xticks(
        range(count), names, rotation=45 if count > 4 else 0, ha="right" if count > 4 else "center"
    )
    axes.set_yticks(range(count), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_color(FAINT)
    return figure
