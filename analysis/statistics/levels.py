"""Observational results of a sweep by level of one setting.

They are not an experiment: the search selected the configurations, so the values of a level may be due to
other settings that it was tried with. Trials are compared at equal budgets only, first at the epoch that
every trial reached, then among those that completed all epochs (early stopping selected them).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.errors import NothingToRankError
from analysis.query.floors import COLLAPSED, Part, collapsed_caption
from analysis.query.sweep import QueryError, Scalar, Sweep, Trial
from analysis.ranking.by_adapter import common_epoch
from analysis.statistics.paired import mean_interval
from analysis.tables import Table, format_metric
from trainables.specs.workload import Direction
from trainables.wording import plural
from tuning.formatting import format_setting

BINS = 4
"""Bins of equally many trials, for a setting with more than `MANY` numeric levels."""
MANY = 8
ENOUGH = 3
"""Trials that a level needs for a confidence interval of its mean."""


@dataclass(frozen=True)
class ObservedLevel:
    """The values of the trials at one level and one budget."""

    name: str
    values: tuple[float, ...]
    lost: int
    """Trials at this level that failed or diverged."""
    collapsed: int = 0
    """How many of the values are of a model that is no better than a constant predictor."""

    def interval(self) -> tuple[float, float] | None:
        """The 95 % confidence interval of the mean; None below three trials or without variance."""
        found = mean_interval(self.values) if len(self.values) >= ENOUGH else None
        return None if found is None else (found.low, found.high)


@dataclass(frozen=True)
class LevelsAtBudget:
    """All levels at one budget."""

    epoch: float
    survivors: bool
    """Whether only trials that ran all their epochs are included."""
    levels: tuple[ObservedLevel, ...]


def levels_at_budgets(sweep: Sweep, by: str, at: float | None = None) -> tuple[LevelsAtBudget, ...]:
    """The values by level of the setting `by`, at each budget.

    at: one epoch instead of the two default budgets.
    Raises QueryError for a setting that no trial has.
    """
    having = [trial for trial in sweep.trials if trial.config.get(by) is not None]
    if not having:
        raise QueryError(
            f"--by {by}: no trial of {sweep.name} has this setting; the sweep varies"
            f" {', '.join(sweep.varied()) or 'none yet'}"
        )
    named = level_names([trial.config[by] for trial in having])
    wanted = [(at, False)] if at is not None else list(_budgets(sweep, having))
    return tuple(LevelsAtBudget(epoch, whole, _at(sweep, having, named, epoch)) for epoch, whole in wanted)


def _budgets(sweep: Sweep, trials: Sequence[Trial]) -> Iterator[tuple[float, bool]]:
    """The epoch that every trial reached, then the longest completed budget, if it is longer."""
    common = common_epoch(sweep.trials)
    if common is None:
        return
    yield common, False
    whole = max((trial.ran for trial in trials if trial.outcome == "completed"), default=common)
    if whole > common:
        yield whole, True


def _at(
    sweep: Sweep, trials: Sequence[Trial], named: Sequence[str], epoch: float
) -> tuple[ObservedLevel, ...]:
    values: dict[str, list[float]] = {name: [] for name in dict.fromkeys(named)}
    lost, collapsed = dict.fromkeys(values, 0), dict.fromkeys(values, 0)
    for trial, name in zip(trials, named, strict=True):
        if trial.outcome in ("failed", "diverged"):
            lost[name] += 1
        elif trial.comparable and (standing := trial.standing_at(sweep.objective, epoch)) is not None:
            values[name].append(standing.value)
            collapsed[name] += bool(standing.collapsed)
    return tuple(
        ObservedLevel(name, tuple(found), lost[name], collapsed[name]) for name, found in values.items()
    )


def level_names(values: Sequence[Scalar], *, many: int = MANY, bins: int = BINS) -> list[str]:
    """The name of each trial's level: the value itself, or its bin if there are more than `many` numbers."""
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) < len(values) or len(set(numbers)) <= many:
        return [format_setting(value) for value in values]
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, bins + 1)))
    places = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, len(edges) - 2)
    return [f"{edges[i]:.3g} to {edges[i + 1]:.3g}" for i in places]


def level_tables(sweep: Sweep, by: str, at: float | None = None) -> tuple[Table, ...]:
    """A table for each budget, the best mean first."""
    sign = sweep.objective.direction.sign
    having = sum(trial.config.get(by) is not None for trial in sweep.trials)
    tables = []
    for block in levels_at_budgets(sweep, by, at):
        levels = sorted(
            block.levels, key=lambda level: sign * _mean(level.values) if level.values else math.inf
        )
        counted = sum(len(level.values) for level in levels)
        which = "trials that ran all their epochs" if block.survivors else "all trials that reached it"
        caption = (
            f"observational: the search selected the trials. {sweep.objective.metric} on validation images"
            f" at epoch {block.epoch:g}, {which} ({counted} of {plural(len(sweep.trials), 'trial')});"
            f" 95 % CI: confidence interval of the mean (Student's t), from {ENOUGH} trials on"
        )
        if having < len(sweep.trials):
            caption += f". Excluded: {plural(len(sweep.trials) - having, 'trial')} without {by}"
        if floor := sweep.floors.caption(sweep.objective.metric, Part.VALIDATION):
            caption += f". {floor}"
        rows = tuple(_row(level, sweep.objective.direction) for level in levels)
        columns: tuple[str, ...] = (by, "trials", "mean", "95 % CI", "best", "failed")
        if any(level.collapsed for level in levels):
            columns += (COLLAPSED,)
            rows = tuple((*row, str(level.collapsed)) for row, level in zip(rows, levels, strict=True))
            caption += f". {collapsed_caption(sweep.objective.metric)}"
        title = f"{sweep.name}: {sweep.objective.metric} by {by} at epoch {block.epoch:g} (observational)"
        tables.append(Table(title, columns, rows, caption, numeric=tuple(range(1, len(columns)))))
    if not tables:
        raise NothingToRankError(f"{sweep.name}: no trial has ended yet, so there is nothing to compare")
    return tuple(tables)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _row(level: ObservedLevel, direction: Direction) -> tuple[str, ...]:
    if not level.values:
        return (level.name, "0", "–", "–", "–", str(level.lost))
    interval = level.interval()
    best = max(level.values) if direction is Direction.MAXIMIZE else min(level.values)
    return (
        level.name,
        str(len(level.values)),
        format_metric(_mean(level.values)),
        "–" if interval is None else f"{interval[0]:.4f} to {interval[1]:.4f}",
        format_metric(best),
        str(level.lost),
    )
