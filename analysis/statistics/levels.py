"""What a sweep's own trials say about one setting: value by level. No ray, no torch.

These are observations, not an experiment: the search chose where to look, so a level may owe its
figures to the settings that came with it. Trials are compared at equal budgets only, first at the
epoch that every trial reached, then among those that ran the whole way (early stopping chose them).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.errors import NothingToRankError
from analysis.query.sweep import QueryError, Scalar, Sweep, Trial
from analysis.ranking.by_adapter import common_epoch
from analysis.statistics.paired import mean_interval
from analysis.tables import Table, figure, plural
from trainables.specs.workload import Direction
from tuning.formatting import format_setting

BINS = 4
"""Bins of equally many trials for a setting with more numeric levels than `MANY`."""
MANY = 8
ENOUGH = 3
"""Trials that a level needs for an interval of its mean."""


@dataclass(frozen=True)
class Level:
    """The values of the trials at one level and one budget."""

    name: str
    values: tuple[float, ...]
    lost: int
    """Trials at this level that failed or diverged."""

    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the mean; None for fewer than three trials, or without any spread."""
        found = mean_interval(self.values) if len(self.values) >= ENOUGH else None
        return None if found is None else (found.low, found.high)


@dataclass(frozen=True)
class Block:
    """All levels at one budget."""

    epoch: float
    survivors: bool
    """Whether only trials that ran all their epochs are in it."""
    levels: tuple[Level, ...]


def blocks(sweep: Sweep, by: str, at: float | None = None) -> tuple[Block, ...]:
    """Value by level of the setting `by`, in one block for each budget.

    at: one epoch instead of the two that are chosen otherwise.
    Raises QueryError for a setting that no trial has.
    """
    having = [trial for trial in sweep.trials if trial.config.get(by) is not None]
    if not having:
        raise QueryError(
            f"--by {by}: no trial of {sweep.name} has this setting; varied are"
            f" {', '.join(sweep.varied()) or 'none yet'}"
        )
    named = level_names([trial.config[by] for trial in having])
    wanted = [(at, False)] if at is not None else list(_budgets(sweep, having))
    return tuple(Block(epoch, whole, _at(sweep, having, named, epoch)) for epoch, whole in wanted)


def _budgets(sweep: Sweep, trials: Sequence[Trial]) -> Iterator[tuple[float, bool]]:
    """The epoch that every trial reached, then, if it is another, the longest that one ran whole."""
    common = common_epoch(sweep.trials)
    if common is None:
        return
    yield common, False
    whole = max((trial.ran for trial in trials if trial.outcome == "completed"), default=common)
    if whole > common:
        yield whole, True


def _at(sweep: Sweep, trials: Sequence[Trial], named: Sequence[str], epoch: float) -> tuple[Level, ...]:
    values: dict[str, list[float]] = {name: [] for name in dict.fromkeys(named)}
    lost = dict.fromkeys(values, 0)
    for trial, name in zip(trials, named, strict=True):
        if trial.outcome in ("failed", "diverged"):
            lost[name] += 1
        elif trial.comparable and (standing := trial.standing(sweep.objective, epoch)) is not None:
            values[name].append(standing.value)
    return tuple(Level(name, tuple(found), lost[name]) for name, found in values.items())


def level_names(values: Sequence[Scalar], *, many: int = MANY, bins: int = BINS) -> list[str]:
    """A name for each trial's level: the value itself, or its bin of more than `many` numbers."""
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) < len(values) or len(set(numbers)) <= many:
        return [format_setting(value) for value in values]
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, bins + 1)))
    places = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, len(edges) - 2)
    return [f"{edges[i]:.3g} to {edges[i + 1]:.3g}" for i in places]


def level_tables(sweep: Sweep, by: str, at: float | None = None) -> tuple[Table, ...]:
    """The blocks as tables, the better mean first."""
    sign = sweep.objective.direction.sign
    having = sum(trial.config.get(by) is not None for trial in sweep.trials)
    tables = []
    for block in blocks(sweep, by, at):
        levels = sorted(
            block.levels, key=lambda level: sign * _mean(level.values) if level.values else math.inf
        )
        counted = sum(len(level.values) for level in levels)
        which = "trials that ran the whole way" if block.survivors else "every trial that reached it"
        caption = (
            f"observational: the search chose the trials. {sweep.objective.metric} on validation images"
            f" at epoch {block.epoch:g}, {which} ({counted} of {plural(len(sweep.trials), 'trial')});"
            f" interval: 95 % of the mean (t), from {ENOUGH} trials on"
        )
        if having < len(sweep.trials):
            caption += f". {plural(len(sweep.trials) - having, 'trial')} without {by} left out"
        rows = tuple(_row(level, sweep.objective.direction) for level in levels)
        columns = (by, "trials", "mean", "95 % interval", "best", "failed")
        title = f"{sweep.name}: {sweep.objective.metric} by {by} at epoch {block.epoch:g} (observational)"
        tables.append(Table(title, columns, rows, caption, numeric=(1, 2, 3, 4, 5)))
    if not tables:
        raise NothingToRankError(f"{sweep.name}: no trial has ended yet, so there is nothing to compare")
    return tuple(tables)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _row(level: Level, direction: Direction) -> tuple[str, ...]:
    if not level.values:
        return (level.name, "0", "–", "–", "–", str(level.lost))
    interval = level.interval()
    best = max(level.values) if direction is Direction.MAXIMIZE else min(level.values)
    return (
        level.name,
        str(len(level.values)),
        figure(_mean(level.values)),
        "–" if interval is None else f"{interval[0]:.4f} to {interval[1]:.4f}",
        figure(best),
        str(level.lost),
    )
