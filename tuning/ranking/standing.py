"""The value of a trial: by which metric trials are compared, and what their reports give."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from trainables.metrics.above_floor import collapsed
from trainables.specs.workload import Direction, ValueRule, Workload

NEARLY = 1e-9
"""Epochs that differ by less are the same."""


@dataclass(frozen=True)
class Objective:
    """By which metric, in which direction and under which rule trials are compared."""

    metric: str
    direction: Direction
    rule: ValueRule

    @classmethod
    def of(cls, workload: Workload) -> Objective:
        """The experiment's objective."""
        return cls(workload.objective.metric, workload.direction, workload.objective.value)


@dataclass(frozen=True)
class Standing:
    """A trial's value under an objective, and the epoch and the metrics of the report that gave it."""

    value: float
    epoch: float
    metrics: Mapping[str, float]
    above_floor: tuple[float, float] | None = None
    """(low, high), the 95 % interval of the experiment's objective minus its floor, from the same report."""

    @property
    def collapsed(self) -> bool | None:
        """Whether the model is no better than a constant predictor; None for an objective without a floor."""
        return collapsed(self.above_floor)


class Reported(Protocol):
    """A report, as far as it decides a trial's value."""

    @property
    def epoch(self) -> float:
        """The epoch after which the model was evaluated."""

    @property
    def metrics(self) -> Mapping[str, float | None]:
        """The validation metrics by name; None for one that was no number."""

    @property
    def above_floor(self) -> tuple[float, float] | None:
        """The 95 % interval of the objective minus its floor; None if it has no floor."""

    @property
    def image_size(self) -> tuple[int, int] | None:
        """The size of its images, if they were smaller than the model's own."""


def standing(reports: Iterable[Reported], objective: Objective, upto: float | None = None) -> Standing | None:
    """The best report, the earliest of equal ones, or the last one, as the rule has it.

    upto: reports after this epoch do not count. Reports without a finite value never count, nor do those on
    smaller images than the model's own; None is returned if no report counts.
    """
    return _standing([r for r in reports if r.image_size is None], objective, upto)


def standing_at(reports: Iterable[Reported], objective: Objective, epoch: float) -> Standing | None:
    """What `standing` gives with `upto`, but on images of the size that the trial had at this epoch.

    For comparing the trials of one experiment at an equal budget: at an epoch all of them have the same size.
    """
    made = [r for r in reports if r.epoch <= epoch + NEARLY]
    return _standing([r for r in made if r.image_size == made[-1].image_size], objective)


def _standing(
    reports: Sequence[Reported], objective: Objective, upto: float | None = None
) -> Standing | None:
    value, found = objective.direction.worst, None
    for report in reports:
        new = report.metrics.get(objective.metric)
        if new is None or not math.isfinite(new) or (upto is not None and report.epoch > upto + NEARLY):
            continue
        if objective.rule is ValueRule.LAST or objective.direction.better(new, value):
            value, found = new, report
    if found is None:
        return None
    metrics = {name: v for name, v in found.metrics.items() if v is not None}
    return Standing(value, found.epoch, metrics, found.above_floor)


def kept_report(reports: Iterable[Reported], objective: Objective) -> Standing | None:
    """The report whose weights the engine keeps: the first of the best ones, whatever the rule.

    Of a trial whose images became larger, it is one with the size that they have at last.
    """
    return standing_at(reports, replace(objective, rule=ValueRule.BEST), math.inf)


def reached(ran: float, budget: float | None) -> bool:
    """Whether a trial that has run `ran` epochs has reached the budget; always true without one."""
    return budget is None or ran >= budget - NEARLY
