"""Quality against cost: the trials that no other trial beats in both (the Pareto front)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby

from pydantic import JsonValue

from analysis.errors import NothingToRankError
from analysis.query.floors import Part, collapsed_caption, marked
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
    range: tuple[float, float] | None = None
    """The range of a cost that was measured repeatedly; None if it is a single number."""
    collapsed: bool | None = None
    """Whether its model is no better than a constant predictor; None without a floor."""
    rates: Mapping[str, float] = field(default_factory=dict)
    """See `Trial.rates`."""

    @property
    def least(self) -> float:
        """The low end of the cost."""
        return self.cost if self.range is None else self.range[0]

    @property
    def most(self) -> float:
        """The high end of the cost."""
        return self.cost if self.range is None else self.range[1]


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
    floor: float | None = None
    """The floor of the metric on validation images."""
    floor_said: str = ""
    """The same as a sentence; empty if it has none."""
    decided_by: str = ""
    """The metric that decides which trials have collapsed: the experiment's objective."""


def front(points: Iterable[Point], direction: Direction) -> tuple[Point, ...]:
    """The points that no other point matches in value and cost and beats in one; the cheapest first.

    A cost is lower only if its whole range is: where ranges overlap, the costs count as equal. Of equal
    points only the first is returned, in the order of cost and trial number.
    """
    sign = direction.sign
    held: list[Point] = []
    ceiling = math.inf  # the least cost of all points with a better value
    for _, equals in groupby(sorted(points, key=lambda p: sign * p.value), key=lambda p: p.value):
        group = sorted(equals, key=lambda p: (p.cost, p.trial))
        cheaper = next((point for point in group if point.most < ceiling), None)
        if cheaper is not None:
            held.append(cheaper)
        ceiling = min(ceiling, *(point.least for point in group))
    return tuple(sorted(held, key=lambda p: p.cost))


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
            points.append(
                Point(
                    trial.number,
                    standing.value,
                    spent,
                    trial.params,
                    cost.range_of(sweep, trial),
                    standing.collapsed,
                    trial.rates,
                )
            )
    if not points:
        raise NothingToRankError(
            f"{sweep.name}: no trial has run to its own end with {cost.label} on record,"
            " so there is nothing to compare"
        )
    return Pareto(
        sweep.name,
        objective,
        cost,
        tuple(points),
        front(points, objective.direction),
        dict(left_out),
        sweep.floors.at(objective.metric, Part.VALIDATION),
        sweep.floors.caption(objective.metric, Part.VALIDATION),
        sweep.objective.metric,
    )


def pareto_table(found: Pareto) -> Table:
    """The front, the cheapest first."""
    rows = tuple(
        (
            str(point.trial),
            marked(format_metric(point.value), is_collapsed=point.collapsed),
            format_cost(found.cost, point.cost, point.range),
            format_settings(point.params, point.rates),
        )
        for point in found.front
    )
    caption = (
        f"{found.objective.metric} on validation images of {plural(len(found.points), 'trial')} that"
        f" {measured(found.cost)}; none is as good for less than these. A front of single runs: with"
        " another seed, close values may change places"
    )
    caption += "".join(f". {said}" for said in (separated(found), worth_of(found)) if said)
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
        "floor": found.floor,
        "left_out": dict(found.left_out),
        "trials": [
            {
                "trial": point.trial,
                "value": point.value,
                "collapsed": point.collapsed,
                "cost": point.cost,
                "cost_range": None if point.range is None else list(point.range),
                "front": point.trial in on,
                "params": dict(point.params),
                **({"rates": dict(point.rates)} if point.rates else {}),
            }
            for point in found.points
        ],
    }


def worth_of(found: Pareto) -> str:
    """The floor, and what the word in the table means, for a caption."""
    parts = [found.floor_said] if found.floor_said else []
    parts += [collapsed_caption(found.decided_by)] if any(p.collapsed for p in found.front) else []
    return ". ".join(parts)


def separated(found: Pareto) -> str:
    """What the ranges of a latency mean, for a caption; empty for other costs."""
    if found.cost is not Cost.LATENCY:
        return ""
    if any(point.range is None for point in found.points):
        return (
            "Some trials were timed one by one, by an earlier version, so a difference may be that of the"
            " machine's load"
        )
    return (
        "Measured in turns; in brackets the range of the middle five of seven. Trials whose ranges overlap"
        " count as equally fast"
    )


def format_cost(cost: Cost, value: float, within: tuple[float, float] | None) -> str:
    """A cost with its range, if it has one: `5.4 (5.2 to 6.1)`."""
    if cost is Cost.PARAMETERS:
        return format_count(round(value))
    return f"{value:,.3g}" + ("" if within is None else f" ({within[0]:,.3g} to {within[1]:,.3g})")
