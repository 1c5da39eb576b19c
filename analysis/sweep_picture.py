"""The summary picture of a sweep: learning curves, and the value of every trial by adapter.

Colours are Okabe and Ito's (with Tol's olive instead of their yellow, which is faint on white), which
colour-blind readers can tell apart. Line style and marker show whether the backbone trains.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.query.sweep import Standing, Sweep, Trial
from trainables.specs.adapters import TRAINS_BACKBONE
from trainables.specs.workload import Direction
from trainables.wording import plural

FIGURE = "learning_curves.png"

COLOURS: Mapping[str, str] = {
    "none": "#000000",
    "lora": "#0072B2",
    "adalora": "#56B4E9",
    "loha": "#009E73",
    "lokr": "#999933",
    "serial_lora": "#D55E00",
    "localized_lora": "#E69F00",
    "peft": "#CC79A7",
}
_OTHER = "#7F7F7F"


def draw_sweep(sweep: Sweep, path: Path) -> Path | None:
    """Write the picture as a PNG and return its path; None if no trial has reported yet.

    Needs no display. Raises OSError if the file cannot be written.
    """
    shown = [
        (trial, standing)
        for trial in sweep.trials
        if trial.comparable and (standing := trial.standing(sweep.objective)) is not None
    ]
    if not shown:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.6), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    curves, scores = figure.subplots(1, 2, gridspec_kw={"width_ratios": [3, 2]})
    _curves(curves, sweep, [trial for trial, _ in shown])
    _scores(scores, sweep, shown)
    figure.suptitle(
        f"{sweep.name}: {sweep.objective.metric} on validation images, {plural(len(sweep.trials), 'trial')}",
        fontsize=11,
    )
    figure.savefig(path)
    return path


def _colour(trial: Trial) -> str:
    return COLOURS.get(trial.adapter, _OTHER)


def _trains_backbone(trial: Trial) -> bool:
    return trial.freezing in TRAINS_BACKBONE


def _curves(axes: Any, sweep: Sweep, trials: list[Trial]) -> None:
    metric = sweep.objective.metric
    for trial in trials:
        points = [(r.epoch, v) for r in trial.reports if (v := r.metrics.get(metric)) is not None]
        axes.plot(
            [epoch for epoch, _ in points],
            [value for _, value in points],
            color=_colour(trial),
            linestyle="--" if _trains_backbone(trial) else "-",
            marker="o",
            markersize=3.5,
            markerfacecolor="white" if _trains_backbone(trial) else _colour(trial),
            linewidth=1.2,
            alpha=0.9,
        )
    _baseline(axes.axhline, sweep)
    axes.set_xlabel("epoch")
    axes.set_ylabel(metric)
    axes.set_title("learning curves (short ones were stopped early)", fontsize=9)
    axes.grid(alpha=0.25)
    axes.legend(handles=_legend(trials, sweep), fontsize=7, ncols=2, framealpha=0.8, handlelength=3.5)


def _legend(trials: list[Trial], sweep: Sweep) -> list[Any]:
    from matplotlib.lines import Line2D

    names = [name for name in COLOURS if any(trial.adapter == name for trial in trials)]
    handles = [Line2D([], [], color=COLOURS[name], marker="o", markersize=3.5, label=name) for name in names]
    if any(_trains_backbone(trial) for trial in trials):
        handles.append(
            Line2D([], [], color=_OTHER, linestyle="--", marker="o", markerfacecolor="white",
                   markersize=3.5, label="backbone trains")
        )  # fmt: skip
    if sweep.objective.metric in sweep.baseline:
        handles.append(Line2D([], [], color=_OTHER, linestyle=":", label="pretrained baseline"))
    if sweep.floors.at(sweep.objective.metric) is not None:
        handles.append(Line2D([], [], color=_OTHER, linestyle="-", label="constant predictor"))
    return handles


def _scores(axes: Any, sweep: Sweep, shown: list[tuple[Trial, Standing]]) -> None:
    maximize = sweep.objective.direction is Direction.MAXIMIZE
    groups: dict[str, list[tuple[Trial, Standing]]] = {}
    for trial, standing in shown:
        groups.setdefault(trial.adapter, []).append((trial, standing))
    pick = max if maximize else min
    order = sorted(
        groups, key=lambda name: pick(s.value for _, s in groups[name]), reverse=not maximize
    )  # the best adapter is the top row
    for row, name in enumerate(order):
        values = sorted(groups[name], key=lambda pair: pair[1].value)
        for place, (trial, standing) in enumerate(values):
            # The trials of an adapter are spread within its row.
            spread = min(0.12, 0.6 / len(values)) * (place - (len(values) - 1) / 2)
            axes.scatter(
                standing.value,
                row + spread,
                s=34 if trial.finished else 18,
                marker="D" if _trains_backbone(trial) else "o",
                facecolors=_colour(trial) if trial.finished else "white",
                edgecolors=_colour(trial),
                linewidths=1.2,
                zorder=3,
            )
    _baseline(axes.axvline, sweep)
    axes.set_yticks(range(len(order)), order)
    axes.set_ylim(-0.6, len(order) - 0.4)
    axes.set_xlabel(f"{sweep.objective.metric}, {sweep.objective.rule.value} report")
    axes.set_title("by adapter (filled: finished, diamond: backbone trains)", fontsize=9)
    axes.grid(axis="x", alpha=0.25)


def _baseline(line: Any, sweep: Sweep) -> None:
    value = sweep.baseline.get(sweep.objective.metric)
    if value is not None:
        line(value, color=_OTHER, linestyle=":", linewidth=1.4)
    floor = sweep.floors.at(sweep.objective.metric)
    if floor is not None:
        line(floor, color=_OTHER, linestyle="-", linewidth=1.0)
