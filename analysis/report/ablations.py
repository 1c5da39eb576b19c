"""The section on ablations: designed experiments, then the levels of the sweep's own trials."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from analysis.ablation.answers import shown_tables
from analysis.ablation.confirmed import confirmed
from analysis.ablation.over_images import image_differences, image_sentence
from analysis.ablation.result import (
    AblationResult,
    seed_sentences,
)
from analysis.errors import QueryError
from analysis.query.sweep import Sweep, spread
from analysis.ranking.by_adapter import common_epoch
from analysis.report.document import Absent, Block, Figure, Heading, Points, Section, Text
from analysis.report.inputs import Material
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
from analysis.tables import Table, format_metric
from trainables.specs.workload import ROBUSTNESS
from trainables.specs.workload import MetricName as Figure_
from trainables.wording import plural
from tuning.experiment.sections.ablation import AblationSpec, AblationStage

PANELS = 5
"""Maximum number of settings in the figure of levels."""
MOST_LEVELS = 10
MANY = 500
"""Above this number of trials, a level shows only a sample of its trials."""
RUNS = 60
"""Maximum number of trials that are drawn at a level."""


# --- designed ---------------------------------------------------------------------------------


def ablations_section(m: Material) -> Section:
    """Designed experiments with confidence intervals, then the sweep's own trials by level of a setting."""
    found: list[Block] = []
    for number, (folder, result) in enumerate(m.ablations):
        found += _designed(folder, result, number)
    if m.is_retuning:
        found.append(
            Absent(
                "This experiment only retuned the levels of an ablation and compares nothing; see the"
                f" report of {m.folder.name.removesuffix('-retune')}."
            )
        )
    elif not m.ablations:
        found.append(
            Absent(
                f"No designed ablation starts from this experiment; `adaptertune ablate {m.folder.name}"
                " --study rank` runs one, repeated over seeds, and its result appears here."
            )
        )
    if m.unread:
        found += [Text("Not shown:"), Points(m.unread)]
    if not m.is_designed:
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
        f"Designed: {_shared(spec)}; {plural(len(spec.seeds), spec.unit)} per level, the same at all levels."
        f" Measured on {result.images} images; {_epoch_of(spec)}. Bars: 95 % confidence intervals of the"
        f" means over {spec.unit}s (top) and of the paired differences (bottom).",
        Ablation(measured, spec.factor, levels, differences),
    )
    return [
        Heading(f"{spec.factor}: {result.name}"),
        Text(f"On {result.images} images. {comparison.conclusion}"),
        drawn,
        *([Text(f"{confirmed(result).answer}.")] if spec.stage is AblationStage.CONFIRM else []),
        *shown_tables(result),
        Points(seed_sentences(result)[1:]),
        *_by_image(folder, result),
    ]


def _epoch_of(spec: AblationSpec) -> str:
    if spec.folds is not None:
        return "the last epoch of each run, on the fold that it did not train on"
    return "the epoch of each run was selected on validation images"


def _shared(spec: AblationSpec) -> str:
    if spec.stage is AblationStage.CONFIRM:
        return f"the best trials of {spec.of}, repeated"
    return f"all other settings as in trial {spec.trial} of {spec.of}"


def _by_image(folder: Path, result: AblationResult) -> list[Block]:
    found = image_differences(result, folder)
    if not found:
        return []
    return [
        Text(
            "The same differences by paired bootstrap over the test images. The trained models are fixed, so"
            " these intervals do not include the variance over seeds; the comparison over seeds decides:"
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
        return [Absent("No trial has ended yet, so the sweep's own trials cannot be compared.")]
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
        return [Absent("No setting has trials with a value at two levels, so there is nothing to compare.")]
    metric = f"{m.metric} at epoch {epoch:g}"
    counted = sum(
        1 for trial in m.sweep.trials if trial.comparable and trial.standing_at(m.sweep.objective, epoch)
    )
    caption = (
        "Observational: the search selected the trials, so the values of a level may be due to other"
        f" settings that it was tried with. {metric} on validation images, the budget that every trial"
        f" reached; {plural(counted, 'trial')}. ◆: mean with its 95 % confidence interval (Student's t), from"
        " 3 trials on; ○: single trials"
    )
    caption += "." if len(m.sweep.trials) <= MANY else ", a sample if there are many."
    return [
        Heading("What the sweep's own trials suggest (observational)"),
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
    """The interval of the mean, clipped to the range of the metric: Dice, IoU and AP are in [0, 1]."""
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
        ("setting", "level", "trials", "mean", "95 % CI"),
        tuple(rows),
        "Observational, on validation images; levels may only seem to differ, which an ablation tests",
        numeric=(2, 3, 4),
    )
