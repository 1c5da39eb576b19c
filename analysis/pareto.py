"""What quality costs: the trials that no other beats in both. No ray, no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from pydantic import JsonValue

from analysis.errors import NothingToRankError
from analysis.frames import Objective, Sweep, Trial
from trainables.workload import Direction


class Cost(StrEnum):
    """What a trial takes; less is better."""

    PARAMETERS = "parameters"
    SECONDS = "seconds"
    MEMORY = "peak_mb"
    LATENCY = "latency_ms"

    def of(self, trial: Trial) -> float | None:
        """None where the record does not hold it."""
        match self:
            case Cost.PARAMETERS:
                return None if trial.trainable is None else float(trial.trainable)
            case Cost.SECONDS:
                return trial.seconds or None
            case Cost.MEMORY:
                return trial.peak_mb or None
            case Cost.LATENCY:
                return trial.latency_ms

    @property
    def words(self) -> str:
        """With its unit."""
        match self:
            case Cost.PARAMETERS:
                return "trainable parameters"
            case Cost.SECONDS:
                return "seconds of training"
            case Cost.MEMORY:
                return "peak memory in MB"
            case Cost.LATENCY:
                return "milliseconds an image"


@dataclass(frozen=True)
class Point:
    """A trial's quality and cost."""

    trial: int
    value: float
    cost: float
    params: Mapping[str, JsonValue]


@dataclass(frozen=True)
class Pareto:
    """All trials that ran to their own end, and those that no other beats."""

    sweep: str
    objective: Objective
    cost: Cost
    points: tuple[Point, ...]
    front: tuple[Point, ...]
    """The cheapest first, each better than the one before."""
    left_out: Mapping[str, int]
    """Trials that cannot take part, by outcome."""


def front(points: Iterable[Point], direction: Direction) -> tuple[Point, ...]:
    """The points that no other one equals or beats in value and cost and beats in one; the cheapest first.

    Of equals the lowest trial number stands for all.
    """
    sign = direction.sign
    held: list[Point] = []
    for point in sorted(points, key=lambda p: (p.cost, sign * p.value, p.trial)):
        if not held or direction.better(point.value, held[-1].value):
            held.append(point)
    return tuple(held)


def pareto(sweep: Sweep, cost: Cost = Cost.PARAMETERS, *, metric: str | None = None) -> Pareto:
    """Quality on validation images against cost, of trials that ran to their own end.

    Raises NothingToRankError if there is none, QueryError for an unknown metric.
    """
    objective = sweep.objective_for(metric)
    points: list[Point] = []
    left_out: Counter[str] = Counter()
    for trial in sweep.trials:
        standing, spent = trial.standing(objective), cost.of(trial)
        if not trial.finished or standing is None or spent is None:
            left_out[trial.outcome] += 1
        else:
            points.append(Point(trial.number, standing.value, spent, trial.params))
    if not points:
        raise NothingToRankError(
            f"{sweep.name}: no trial has run to its own end with {cost.words} on record,"
            " so nothing can be weighed"
        )
    return Pareto(
        sweep.name, objective, cost, tuple(points), front(points, objective.direction), dict(left_out)
    )
