"""What a sweep weighs, as values: its objectives, each with its direction, and its constraints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from trainables.specs.costs import COSTS
from trainables.specs.workload import Direction, MetricName, Task, ValueRule
from tuning.experiment.sections.objectives import BoundSpec
from tuning.experiment.spec import Experiment


@dataclass(frozen=True)
class Goal:
    """One objective. metric: on validation images, or a cost."""

    metric: str
    direction: Direction


@dataclass(frozen=True)
class Goals:
    """Objectives in the order of the file, and the bounds by metric.

    rule: which report of a trial gives its values.
    """

    objectives: tuple[Goal, ...]
    constraints: Mapping[str, BoundSpec] = field(default_factory=dict)
    rule: ValueRule = ValueRule.BEST

    @classmethod
    def of(cls, experiment: Experiment) -> Goals:
        """The goals of an experiment."""
        task = experiment.task
        first = Goal(experiment.objective.metric, experiment.workload.direction)
        further = (Goal(o.metric, o.mode or direction_of(o.metric, task)) for o in experiment.further)
        return cls((first, *further), dict(experiment.constraints), experiment.objective.value)

    @classmethod
    def one(cls, direction: Direction, metric: str = "value") -> Goals:
        """One objective without constraints."""
        return cls((Goal(metric, direction),))

    @property
    def first(self) -> Goal:
        """The objective that decides where one number is needed."""
        return self.objectives[0]

    @property
    def several(self) -> bool:
        """Whether there is more than one objective."""
        return len(self.objectives) > 1

    @property
    def single(self) -> bool:
        """Whether there is nothing but one objective."""
        return not self.several and not self.constraints

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of all objectives and constraints, each once."""
        return tuple(dict.fromkeys([*(goal.metric for goal in self.objectives), *self.constraints]))

    @property
    def bounds(self) -> str:
        """The constraints in words: `peak_mb at most 8000 and dice at least 0.5`."""
        return " and ".join(f"{name} {bound}" for name, bound in self.constraints.items())

    def as_json(self) -> dict[str, JsonValue]:
        """For programs: each objective with its direction, and the constraints."""
        return {
            "objectives": {goal.metric: goal.direction.value for goal in self.objectives},
            "constraints": {
                name: bound.model_dump(exclude_none=True) for name, bound in self.constraints.items()
            },
        }

    def vector(self, values: Mapping[str, float]) -> tuple[float, ...] | None:
        """The values of all objectives in their order; None if one is absent."""
        found = [values.get(goal.metric) for goal in self.objectives]
        return tuple(v for v in found if v is not None) if None not in found else None

    def violations(self, values: Mapping[str, float]) -> dict[str, float] | None:
        """By how much each constraint is broken, see `BoundSpec.violation`; None if a value is absent."""
        if any(name not in values for name in self.constraints):
            return None
        return {name: bound.violation(values[name]) for name, bound in self.constraints.items()}

    def broken(self, values: Mapping[str, float]) -> tuple[str, ...]:
        """The constraints that are not known to be kept."""
        return tuple(
            name
            for name, bound in self.constraints.items()
            if name not in values or bound.violation(values[name]) > 0
        )


def direction_of(metric: str, task: Task) -> Direction:
    """Whether higher or lower values of a metric, or of a cost, are better."""
    return Direction.MINIMIZE if metric in COSTS else MetricName.of(metric).direction(task)


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether `one` is as good in everything and better in something. Smaller is better in both."""
    return all(a <= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)


def signed(goals: Goals, values: Sequence[float]) -> tuple[float, ...]:
    """Values of the objectives, turned so that smaller is better."""
    return tuple(g.direction.sign * v for g, v in zip(goals.objectives, values, strict=True))
