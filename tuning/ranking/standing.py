"""By which figure trials are compared, and what a trial's reports are worth under it. No ray, no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trainables.specs.workload import Direction, ValueRule, Workload
from tuning.ledger.records import ReportRecord

NEARLY = 1e-9
"""Epochs that differ by less are the same."""


@dataclass(frozen=True)
class Objective:
    """By which figure, in which direction and under which rule trials are compared."""

    metric: str
    direction: Direction
    rule: ValueRule

    @classmethod
    def of(cls, workload: Workload) -> Objective:
        """The experiment's own."""
        return cls(workload.objective.metric, workload.direction, workload.objective.value)


@dataclass(frozen=True)
class Standing:
    """A trial's value under an objective, and the epoch whose report gave it."""

    value: float
    epoch: float
    metrics: Mapping[str, float]


def standing(
    reports: Iterable[ReportRecord], objective: Objective, upto: float | None = None
) -> Standing | None:
    """The best report, the earliest of equal ones, or the last one as the rule has it; None without any.

    upto: reports after this epoch do not count.
    """
    best: Standing | None = None
    for report in reports:
        value = report.metrics.get(objective.metric)
        if value is None or (upto is not None and report.epoch > upto + NEARLY):
            continue
        if best is None or objective.rule is ValueRule.LAST or objective.direction.better(value, best.value):
            figures = {name: v for name, v in report.metrics.items() if v is not None}
            best = Standing(value, report.epoch, figures)
    return best
