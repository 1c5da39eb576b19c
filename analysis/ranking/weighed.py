"""What an experiment weighs besides the metric that trials are ranked by: other objectives, constraints."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import JsonValue

from analysis.tables import format_count, format_metric
from trainables.specs.costs import CostMetric
from trainables.wording import plural
from tuning.experiment.goals import Goals
from tuning.ranking.front import Vector, front_of

FRONT_SHOWN = 20
"""The most trials of a front that a caption names."""
INFEASIBLE = "infeasible"
"""What a trial is counted as that would be ranked if it kept its constraints."""


@dataclass(frozen=True)
class Weighed:
    """The goals of an experiment with more than one objective, or with constraints, and its front.

    front: the trials that no other one beats in all objectives, the best in the first one first; empty with
    one objective.
    """

    goals: Goals
    front: tuple[int, ...] = ()

    @classmethod
    def of(cls, goals: Goals, points: Iterable[tuple[int, Vector | None]]) -> Weighed:
        """points: trials by number; None for one that does not take part, see `vector_of`."""
        taken = ((number, vector) for number, vector in points if vector is not None)
        return cls(goals, front_of(taken) if goals.several else ())

    def shown_beside(self, metric: str) -> tuple[str, ...]:
        """The metrics that a table shows beside the one that it is ordered by."""
        known = {metric, CostMetric.PARAMETERS}  # these have a column of their own
        return tuple(name for name in self.goals.metrics if name not in known)

    def caption(self, metric: str) -> str:
        """What decides the order by `metric`, and which trials are on the front, as sentences."""
        said, goals = [], self.goals
        if goals.several:
            named = ", ".join(goal.metric for goal in goals.objectives)
            which = "the first" if metric == goals.first.metric else "not the first"
            said.append(f"{metric} is {which} of {plural(len(goals.objectives), 'objective')} ({named})")
            said.append(f"{self.front_in_words()}; `adaptertune pareto` shows their values")
        if goals.constraints:
            said.append(f"Only trials with {goals.bounds} are ranked")
        return ". ".join(said)

    def front_in_words(self) -> str:
        """Which trials are on the front: `On their front: trials 3, 7`."""
        if not self.front:
            return "No trial is on their front yet"
        numbers = ", ".join(str(number) for number in self.front[:FRONT_SHOWN])
        more = len(self.front) - FRONT_SHOWN
        return f"On their front: {'trial' if len(self.front) == 1 else 'trials'} {numbers}" + (
            f" and {more} more" if more > 0 else ""
        )

    def as_json(self) -> dict[str, JsonValue]:
        """The goals and the front for programs."""
        return {**self.goals.as_json(), "front": list(self.front)}


def format_value(metric: str, value: float | None) -> str:
    """A value of an objective for a table, as it suits its unit."""
    match metric:
        case CostMetric.PARAMETERS | CostMetric.MACS:
            return format_count(None if value is None else round(value))
        case CostMetric.PEAK_MB:
            return "–" if value is None else f"{value:,.0f}"
        case CostMetric.LATENCY_MS:
            return "–" if value is None else f"{value:.3g}"
        case _:
            return format_metric(value)


def label(metric: str) -> str:
    """The name of an objective with its unit."""
    return {
        CostMetric.PARAMETERS.value: "trainable parameters",
        CostMetric.MACS.value: "MACs of an image",
        CostMetric.PEAK_MB.value: "peak memory in MB",
        CostMetric.LATENCY_MS.value: "milliseconds an image",
    }.get(metric, metric)
