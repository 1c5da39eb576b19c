"""The section on ablations: designed ones with error bars, then levels of the sweep. No ray, no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from analysis.ablation.result import (
    AblationResult,
    image_differences,
    image_sentence,
    result_tables,
    seed_sentences,
)
from analysis.errors import QueryError
from analysis.query.sweep import Sweep, spread
from analysis.ranking.by_adapter import common_epoch
from analysis.report.document import Absent, Block, Figure, Heading, Points, Section, Text
from analysis.report.inputs import Material
from analysis.report.phrases import trials_in_words
from analysis.report.plots import (
    Ablation,
    DifferenceMark,
    LevelMark,
    Marginals,
    Panel,
    interval_ends,
)
from analysis.statistics.levels import LevelsAtBudget as LevelBlock
from analysis.statistics.levels import ObservedLevel, levels_at_budgets
from analysis.statistics.paired import Interval, rounded
from analysis.tables import Table, format_metric, plural
from trainables.specs.workload import ROBUSTNESS
from trainables.specs.workload import Figure as Figure_

PANELS = 5
"""Settings whose levels are shown."""
MOST_LEVELS = 10
MANY = 500
"""Trials from which on not all are drawn at a level."""
RUNS = 60
"""Of a level, where there are many."""


# --- designed ---------------------------------------------------------------------------------


def ablations_section(m: Material) -> Section:
    """Designed experiments with their error bars, then what the sweep's own trials say of its settings."""
    found: list[Block] = []
    for number, (folder, result) in enumerate(m.designed):
        found += _designed(folder, result, number)
    if m.retunes:
        found.append(
            Absent(
                "This experiment chose settings for each level of an ablation and compares nothing; see the"
                f" report of {m.folder.name.removesuffix('-retune')}."
            )
        )
    elif not m.designed:
        found.append(
            Absent(
                f"No designed ablation starts from this experiment; `adaptertune ablate {m.folder.name}"
                " --study rank` runs one, repeated over seeds, and its error bars appear here."
            )
        )
    if m.unread:
        found += [Text("Not shown:"), Points(m.unread)]
    if not m.designs:
        found += _observed(m)
    return Section("ablations", "Ablations", tuple(found))


def _designed(folder: Path, result: AblationResult, number: int) -> list[Block]:
    comparison = result.comparison
    measured = f"{result.images} {result.metric}"
    levels = tuple(
        LevelMark(
            level.name,
            tuple(level.values.values()),
            level.mean,
            interval_ends(level.interval),
            level.name == comparison.reference,
        )
        for level in comparison.levels
    )
    differences = tuple(
        DifferenceMark(
            f"{d.level} − {d.reference}",
            d.mean,
            interval_ends(d.interval),
            d.significant,
        )
        for d in comparison.differences
        if d.mean is not None
    )
    spec = result.spec
    means = "; ".join(
        f"{level.name} {_rounded(level.mean, level.interval)}"
        for level in comparison.levels
        if level.mean is not None
    )
    drawn = Figure(
        f"ablation-{number}-{_slug(spec.factor)}",
        f"{spec.factor}: {measured} by level",
        f"Means of {measured} by level of {spec.factor}: {means}. {comparison.conclusion}",
        f"Designed: all else as trial {spec.trial} of {spec.of}; {plural(len(spec.seeds), 'seed')} a level,"
        f" the same at all. Measured on {result.images} images; the epoch of each run was picked on"
        " validation images. Bars are 95 % intervals: of a mean over seeds above, of a paired difference"
        " below.",
        Ablation(measured, spec.factor, levels, differences),
    )
    return [
        Heading(f"{spec.factor}: {result.name}"),
        Text(f"On {result.images} images. {comparison.conclusion}"),
        drawn,
        *result_tables(result),
        Points(seed_sentences(result)[1:]),
        *_by_image(folder, result),
    ]


def _by_image(folder: Path, result: AblationResult) -> list[Block]:
    found = image_differences(result, folder)
    if not found:
        return []
    return [
        Text(
            "How far the same differences depend on which test images they were, with the trained models as"
            " they are; what another seed would give is not in it, so the comparison over seeds decides:"
        ),
        Points(tuple(image_sentence(level, result.spec.reference, d) for level, d in found.items())),
    ]


def _rounded(mean: float, interval: Interval | None) -> str:
    width = 0.0 if interval is None else interval.width
    return rounded(mean, width) if width > 1e-6 * abs(mean) else format_metric(mean)


def _slug(text: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in text)[:40]


# --- observational ----------------------------------------------------------------------------


def _observed(m: Material) -> list[Block]:
    epoch = common_epoch(m.sweep.trials)
    if epoch is None:
        return [Absent("No trial has ended yet, so the sweep's own trials say nothing of its settings.")]
    panels = []
    for name in m.searched:
        try:
            (block,) = levels_at_budgets(m.sweep, name, epoch)
        except (QueryError, ValueError):
            continue
        held = [level for level in block.levels if level.values]
        if len(held) > 1 and any(len(level.values) > 1 for level in held):
            panels.append(Panel(name, _marks(block, m.sweep)))
        if len(panels) == PANELS:
            break
    if not panels:
        return [
            Absent("No setting took two levels among the trials that have a figure, so none can be compared.")
        ]
    metric = f"{m.metric} at epoch {epoch:g}"
    counted = sum(
        1 for trial in m.sweep.trials if trial.comparable and trial.standing(m.sweep.objective, epoch)
    )
    caption = (
        "Observational: the search chose the trials, so a level may owe its figures to the settings that"
        f" came with it. {metric} on validation images, the budget that every trial reached;"
        f" {trials_in_words(counted)}. Mean (◆) and its 95 % interval (Student's t), from 3 trials on;"
        " single trials (○)"
    )
    caption += "." if len(m.sweep.trials) <= MANY else ", some of them where there are many."
    return [
        Heading("What the sweep's own trials say (observational)"),
        Figure(
            "levels",
            f"{metric} by level, observational",
            f"{metric} by level of {', '.join(panel.setting for panel in panels)}. "
            + "; ".join(f"{panel.setting}: best mean at {panel.levels[0].name}" for panel in panels),
            caption,
            Marginals(f"{metric}, validation images", tuple(panels)),
        ),
        _level_table(m, panels, metric),
    ]


def _marks(block: LevelBlock, sweep: Sweep) -> tuple[LevelMark, ...]:
    sign = sweep.objective.direction.sign
    held = [level for level in block.levels if level.values]
    held.sort(key=lambda level: sign * _mean(level))
    if len(held) > MOST_LEVELS:
        held = held[:MOST_LEVELS]
    return tuple(
        LevelMark(
            level.name,
            spread(level.values, RUNS),
            _mean(level),
            _within(level, sweep),
            trials=len(level.values),
        )
        for level in held
    )


def _within(level: ObservedLevel, sweep: Sweep) -> tuple[float, float] | None:
    """The interval of the mean, as far as the figure can go: Dice, IoU and AP lie between 0 and 1."""
    found = level.interval()
    if found is None or Figure_.of(sweep.objective.metric).base in ("loss", ROBUSTNESS):
        return found
    return max(0.0, found[0]), min(1.0, found[1])


def _mean(level: ObservedLevel) -> float:
    return sum(level.values) / len(level.values)


def _level_table(m: Material, panels: Sequence[Panel], metric: str) -> Table:
    rows = []
    for panel in panels:
        for level in panel.levels:
            width = 0.0 if level.interval is None else level.interval[1] - level.interval[0]
            mean = (
                "–" if level.mean is None else rounded(level.mean, width) if width else m.rounded(level.mean)
            )
            interval = (
                "–"
                if level.interval is None
                else f"{rounded(level.interval[0], width)} to {rounded(level.interval[1], width)}"
            )
            rows.append((panel.setting, level.name, str(level.trials), mean, interval))
    return Table(
        f"{metric} by level (observational)",
        ("setting", "level", "trials", "mean", "95 % interval"),
        tuple(rows),
        "Observational, on validation images; levels that look different here may not be: an ablation tells",
        numeric=(2, 3, 4),
    )
