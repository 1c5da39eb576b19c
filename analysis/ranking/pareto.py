"""Quality against cost: the trials that no other trial beats in both (the Pareto front)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from analysis.errors import NothingToRankError
from analysis.query.sweep import Objective, Sweep
from analysis.ranking.cost import Cost
from analysis.tables import Table, format_count, format_metric
from trainables.specs.workload import Direction
from trainables.wording import plural
from tuning.formatting import format_settings


@dataclass(frozen=True)
class Point:
    """A trial's quality and cost."""

    trial: int
    value: float
    cost: float
    params: Mapping[str, JsonValue]


@dataclass(frozen=True)
class Pareto:
    """All trials that ran to their own end, and the front: those that no other trial beats."""

    sweep: str
    objective: Objective
    cost: Cost
    points: tuple[Point, ...]
    front: tuple[Point, ...]
    """The cheapest first; each is better than the one before."""
    left_out: Mapping[str, int]
    """The number of trials that are not compared, by outcome."""


def front(points: Iterable[Point], direction: Direction) -> tuple[Point, ...]:
    """The points that no other point matches in value and cost and beats in one; the cheapest first.

    Of equal points only the one with the lowest trial number is returned.
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
        standing, spent = trial.standing(objective), cost.of(sweep, trial)
        if not trial.finished or standing is None or spent is None:
            left_out[trial.shown] += 1
        else:
            points.append(Point(trial.number, standing.value, spent, trial.params))
    if not points:
        raise NothingToRankError(
            f"{sweep.name}: no trial has run to its own end with {cost.label} on record,"
            " so there is nothing to compare"
        )
    return Pareto(
        sweep.name, objective, cost, tuple(points), front(points, objective.direction), dict(left_out)
    )


def pareto_table(found: Pareto) -> Table:
    """The front, the cheapest first."""
    rows = tuple(
        (
            str(point.trial),
            format_metric(point.value),
            _cost(found.cost, point.cost),
            format_settings(point.params),
        )
        for point in found.front
    )
    caption = (
        f"{found.objective.metric} on validation images of {plural(len(found.points), 'trial')} that"
        f" {measured(found.cost)}; none is as good for less than these. A front of single runs: with"
        " another seed, close values may change places"
    )
    if found.left_out:
        left = ", ".join(f"{number} {outcome}" for outcome, number in sorted(found.left_out.items()))
        caption += f". Left out, or without {found.cost.label} on record: {left}"
    return Table(
        f"{found.sweep}: {found.objective.metric} against {found.cost.label}",
        ("trial", found.objective.metric, found.cost.label, "settings"),
        rows,
        caption,
        numeric=(0, 1, 2),
    )


def measured(cost: Cost) -> str:
    """Which trials are compared: those that …"""
    ended = "ran to their own end"
    return f"{ended} and were scored, adapters as they trained" if cost is Cost.LATENCY else ended


def pareto_json(found: Pareto) -> dict[str, JsonValue]:
    """All points for programs, and which of them are on the front."""
    on = {point.trial for point in found.front}
    return {
        "experiment": found.sweep,
        "metric": found.objective.metric,
        "cost": found.cost.value,
        "left_out": dict(found.left_out),
        "trials": [
            {
                "trial": point.trial,
                "value": point.value,
                "cost": point.cost,
                "front": point.trial in on,
                "params": dict(point.params),
            }
            for point in found.points
        ],
    }


def _cost(cost: Cost, value: float) -> str:
    return format_count(round(value)) if cost is Cost.PARAMETERS else f"{value:,.3g}"
