"""Drawing of a report's figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, assert_never

from analysis.report import document
from analysis.report.details_figures import confusion_figure, precision_recall_figure
from analysis.report.parallel_coordinates import parallel_figure
from analysis.report.plots import (
    Ablation,
    Bars,
    Confusion,
    Costs,
    Curves,
    Dots,
    Growth,
    LevelMark,
    Marginals,
    Parallel,
    Plot,
    PrecisionRecall,
)
from analysis.report.svg import (
    BEST,
    CYCLE,
    CYCLE_MARKERS,
    DPI,
    FAINT,
    FIRST,
    GROUND,
    INK,
    OTHER,
    PAPER,
    Drawn,
    adapter_colour,
    adapter_marker,
    figure_style,
    new_canvas,
    render_figure,
    render_inline,
    shorten_name,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

FEW_CURVES = 30
"""Above this number, curves have no marker at each report."""


def draw_figure(figure: document.Figure) -> Drawn:
    """Draw a figure as SVG and PNG."""
    with figure_style():
        return render_figure(_canvas(figure.plot), figure.name, figure.alt)


def draw_inline(figure: document.Figure) -> str:
    """Draw a figure as SVG for a page alone."""
    with figure_style():
        return render_inline(_canvas(figure.plot), figure.name, figure.alt)


def _canvas(plot: Plot) -> Canvas:
    match plot:
        case Curves():
            return _curves(plot)
        case Ablation():
            return _ablation(plot)
        case Marginals():
            return _marginals(plot)
        case Bars():
            return _bars(plot)
        case Parallel():
            return parallel_figure(plot)
        case Costs():
            return _costs(plot)
        case Growth():
            return _growth(plot)
        case Dots():
            return _dots(plot)
        case PrecisionRecall():
            return precision_recall_figure(plot)
        case Confusion():
            return confusion_figure(plot)
        case _:
            assert_never(plot)


# --- curves -----------------------------------------------------------------------------------


def _curves(plot: Curves) -> Canvas:
    names = list(dict.fromkeys(curve.adapter for curve in plot.curves))
    rows = -(-(len(names) + 3) // 3)
    figure = new_canvas(3.3 + 0.2 * rows)
    axes = figure.subplots()
    few = len(plot.curves) <= FEW_CURVES
    for curve in plot.curves:
        best = curve.trial == plot.best
        colour = adapter_colour(curve.adapter)
        axes.plot(
            [x for x, _ in curve.points],
            [y for _, y in curve.points],
            color=colour,
            linestyle="--" if curve.backbone else "-",
            linewidth=2.4 if best else 1.1 if few else 0.7,
            alpha=1.0 if best else 0.75 if few else 0.4,
            marker=adapter_marker(curve.adapter),
            markersize=5.5 if best else 3.8,
            markevery=None if few or best else [len(curve.points) - 1],
            markerfacecolor=PAPER if curve.backbone else colour,
            zorder=4 if best else 3,
        )  # fmt: skip
    if plot.peak is not None:
        x, y = plot.peak
        longest = max(x for curve in plot.curves for x, _ in curve.points)
        axes.annotate(
            f"best: trial {plot.best}", (x, y), xytext=(0, 8), textcoords="offset points",
            ha="right" if x > 0.6 * longest else "left", fontweight="bold", zorder=6, bbox=GROUND,
        )  # fmt: skip
    for rung in plot.rungs:
        axes.axvline(rung, color=OTHER, linestyle=(0, (1, 2)), linewidth=1.2, zorder=1)
        axes.annotate(
            "rung", (rung, 1.0), xycoords=("data", "axes fraction"), xytext=(2, 1),
            textcoords="offset points", fontsize=7.5, va="bottom", ha="center",
        )  # fmt: skip
    if plot.baseline is not None:
        axes.axhline(plot.baseline, color=OTHER, linestyle="-.", linewidth=1.2, zorder=1)
    if plot.floor is not None:
        axes.axhline(plot.floor, color=OTHER, linestyle="-", linewidth=1.2, zorder=1)
    axes.set_xlabel("epoch")
    axes.set_ylabel(f"{plot.metric}, validation images")
    axes.margins(y=0.12)
    axes.grid(axis="y")
    _epochs(axes, whole=all(x == round(x) for curve in plot.curves for x, _ in curve.points))
    figure.legend(handles=_curve_legend(plot, names), loc="outside lower center", ncols=3, handlelength=2.6)
    return figure


def _epochs(axes: Any, *, whole: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=whole))


def _curve_legend(plot: Curves, names: Sequence[str]) -> list[Any]:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=adapter_colour(name), marker=adapter_marker(name), markersize=4, label=name)
        for name in names
    ]
    if any(curve.backbone for curve in plot.curves):
        handles.append(
            Line2D([], [], color=OTHER, linestyle="--", marker="o", markersize=4, markerfacecolor=PAPER,
                   label="backbone trains")
        )  # fmt: skip
    if plot.rungs:
        handles.append(Line2D([], [], color=OTHER, linestyle=(0, (1, 2)), label="rung"))
    if plot.baseline is not None:
        handles.append(Line2D([], [], color=OTHER, linestyle="-.", label="pretrained baseline"))
    if plot.floor is not None:
        handles.append(Line2D([], [], color=OTHER, linestyle="-", label="constant predictor"))
    return handles


# --- levels -----------------------------------------------------------------------------------


def _ablation(plot: Ablation) -> Canvas:
    heights = [0.34 * len(plot.levels) + 0.3]
    if plot.differences:
        heights.append(0.34 * len(plot.differences) + 0.3)
    figure = new_canvas(sum(heights) + 0.75 * len(heights))
    found = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    _levels(found[0], plot.levels)
    found[0].set_xlabel(plot.metric)
    found[0].set_title(f"{plot.factor}: runs (○), mean (◆) and 95 % interval", loc="left")
    if plot.differences:
        axes = found[1]
        for row, difference in enumerate(plot.differences):
            colour = BEST if difference.significant else OTHER
            if difference.interval is not None:
                axes.plot(difference.interval, [row, row], color=colour, linewidth=2, solid_capstyle="butt")
            axes.plot(
                difference.mean, row, marker="D", markersize=6.5, color=colour,
                markerfacecolor=colour if difference.significant else PAPER, linestyle="none",
            )  # fmt: skip
        axes.axvline(0, color=INK, linewidth=0.9)
        _rows(axes, [difference.name for difference in plot.differences])
        axes.set_xlabel(f"difference in {plot.metric}")
        axes.set_title("paired differences (filled: significant after Holm)", loc="left")
    return figure


def _levels(axes: Any, levels: Sequence[LevelMark]) -> None:
    for row, level in enumerate(levels):
        colour = BEST if level.reference else FIRST
        if level.interval is not None:
            axes.plot(level.interval, [row, row], color=colour, linewidth=2, solid_capstyle="butt")
        # Above the line, so that the mean does not cover them; more than five in three rows.
        places = [
            row - 0.22 + 0.09 * ((i % 3) - 1) * (len(level.values) > 5) for i in range(len(level.values))
        ]
        axes.plot(
            level.values, places, marker="o", markersize=3.6, markerfacecolor="none", color=colour, alpha=0.7,
            linestyle="none",
        )  # fmt: skip
        if level.mean is not None:
            axes.plot(
                level.mean, row, marker="D", markersize=6, color=colour, markeredgecolor=PAPER, zorder=4
            )
    _rows(axes, [_level_name(level) for level in levels])


def _level_name(level: LevelMark) -> str:
    name = level.name if level.trials is None else f"{level.name} ({level.trials})"
    return f"{name} (ref.)" if level.reference else name


def _rows(axes: Any, names: Sequence[str]) -> None:
    """Label the rows with their names, the first row on top."""
    axes.set_yticks(range(len(names)), [shorten_name(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.locator_params(axis="x", nbins=6)


def _marginals(plot: Marginals) -> Canvas:
    heights = [0.26 * len(panel.levels) + 0.2 for panel in plot.panels]
    figure = new_canvas(sum(heights) + 0.34 * len(heights) + 0.5)
    found = figure.subplots(len(heights), 1, height_ratios=heights, sharex=True, squeeze=False)[:, 0]
    for axes, panel in zip(found, plot.panels, strict=True):
        _levels(axes, panel.levels)
        axes.set_title(panel.setting, loc="left", fontweight="bold", fontsize=8.5)
    found[-1].set_xlabel(plot.metric)
    return figure


def _bars(plot: Bars) -> Canvas:
    figure = new_canvas(0.3 * len(plot.bars) + 0.95)
    axes = figure.subplots()
    for row, (_, share, significant) in enumerate(plot.bars):
        axes.barh(
            row, share, height=0.66, edgecolor=FIRST, linewidth=1.1,
            facecolor=FIRST if significant else "none", hatch=None if significant else "////",
        )  # fmt: skip
        axes.annotate(
            f"{share:.2f}", (share, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8
        )
    _rows(axes, [name for name, _, _ in plot.bars])
    axes.set_xlabel(plot.label)
    axes.margins(x=0.12)
    axes.set_xlim(left=0)
    return figure


# --- costs and dots ---------------------------------------------------------------------------


def _growth(plot: Growth) -> Canvas:
    figure = new_canvas(2.4)
    axes = figure.subplots()
    places, shares = [place for place, _ in plot.points], [share for _, share in plot.points]
    axes.step(places, shares, where="post", color=OTHER, linewidth=1.6)
    axes.plot(places[-1:], shares[-1:], linestyle="none", marker="o", markersize=6, color=OTHER)
    axes.set_xlabel(plot.steps)
    axes.set_ylabel(plot.name)
    axes.set_ylim(-0.03, 1.03)
    axes.grid()
    return figure


def _costs(plot: Costs) -> Canvas:
    from matplotlib.lines import Line2D

    names = list(dict.fromkeys(point.adapter for point in plot.points))
    figure = new_canvas(3.2 + 0.2 * (-(-(len(names) + 1) // 3)))
    axes = figure.subplots()
    for name in names:
        for front in (False, True):
            points = [point for point in plot.points if point.adapter == name and point.front is front]
            axes.plot(
                [point.x for point in points], [point.y for point in points], linestyle="none",
                color=adapter_colour(name),
                marker=adapter_marker(name), markersize=8 if front else 5, alpha=1.0 if front else 0.85,
                markerfacecolor=adapter_colour(name) if front else "none", zorder=4 if front else 3,
            )  # fmt: skip
    for point in plot.points:
        if point.range is not None:
            axes.plot(
                point.range, [point.y, point.y], color=adapter_colour(point.adapter), linewidth=1, zorder=1
            )
    best = sorted((point.x, point.y, point.trial) for point in plot.points if point.front)
    if plot.line:
        axes.step(
            [x for x, _, _ in best], [y for _, y, _ in best], where="post", color=OTHER, linewidth=1.2,
            linestyle="-", zorder=2,
        )  # fmt: skip
    if plot.log:
        axes.set_xscale("log")
        _counts(axes.xaxis)
    axes.set_xlabel(plot.cost)
    axes.set_ylabel(f"{plot.metric}, validation images")
    axes.margins(x=0.1, y=0.14)
    axes.grid()
    axes.autoscale_view()  # needed for the positions of the numbers
    for x, y, trial in _apart(axes, best):
        axes.annotate(
            str(trial), (x, y), xytext=(-5, 5), textcoords="offset points", fontsize=8, zorder=5, ha="right"
        )
    handles = [
        Line2D([], [], color=adapter_colour(name), marker=adapter_marker(name), linestyle="none", label=name)
        for name in names
    ]
    handles.append(Line2D([], [], color=OTHER, label="front (filled)"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _counts(axis: Any) -> None:
    """Set ticks such as `50k` and `2M` on a logarithmic axis of counts."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = axis.get_view_interval()
    near = high < 30 * low
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if near else (1,), numticks=8))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))


def _short(value: float) -> str:
    """A short count: `50k`, `2M`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _apart(axes: Any, front: Sequence[tuple[float, float, int]]) -> list[tuple[float, float, int]]:
    """The points of the front with numbers that do not overlap, from the best down."""
    box = axes.transData
    kept: list[tuple[float, float, int]] = []
    for x, y, trial in reversed(front):
        here = box.transform((x, y))
        others = [box.transform((a, b)) for a, b, _ in kept]
        if all(abs(here[0] - p[0]) > 0.16 * DPI or abs(here[1] - p[1]) > 0.13 * DPI for p in others):
            kept.append((x, y, trial))
    return kept


def _dots(plot: Dots) -> Canvas:
    from matplotlib.lines import Line2D

    count = len(plot.series)
    between = 0.085 if any(mark and mark.interval for one in plot.series for mark in one.marks) else 0.06
    height = between * (count - 1) + 0.24  # inches
    step = between / height
    figure = new_canvas(height * len(plot.rows) + 0.8 + 0.2 * (-(-count // 2)))
    axes = figure.subplots()
    handles = []
    for place, series in enumerate(plot.series):
        colour, marker = CYCLE[place % len(CYCLE)], CYCLE_MARKERS[place % len(CYCLE_MARKERS)]
        if series.adapter is not None:
            colour, marker = adapter_colour(series.adapter), adapter_marker(series.adapter)
        shape: dict[str, Any] = {"marker": marker, "color": colour, "linestyle": "none", "markersize": 5.5}
        if series.backbone:
            shape["markerfacecolor"] = PAPER
        handles.append(Line2D([], [], label=shorten_name(series.name, 32), **shape))
        for row, mark in enumerate(series.marks):
            if mark is None:
                continue
            at = row + step * (place - (count - 1) / 2)
            if mark.interval is not None:
                axes.plot(mark.interval, [at, at], color=colour, linewidth=1.8, solid_capstyle="butt")
            axes.plot(mark.value, at, **shape)
    for row in range(len(plot.rows) - 1):
        axes.axhline(row + 0.5, color=FAINT, linewidth=0.6)
    _rows(axes, plot.rows)
    axes.set_ylim(len(plot.rows) - 0.45, -0.55)
    axes.set_xlabel(plot.metric)
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure
