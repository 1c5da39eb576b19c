"""What all trials of an experiment share: task, model, data, objective. No torch, no ray."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from trainables.specs.base import Count, Spec
from trainables.specs.data import DataSpec, EmbeddedData
from trainables.specs.tasks import TASK_FACTS, TaskFacts


class Task(StrEnum):
    """What is fine-tuned."""

    DETECTION = "detection"
    SEGMENTATION = "segmentation"

    @property
    def facts(self) -> TaskFacts:
        """What is known of it without its models."""
        return TASK_FACTS[self.value]


class Direction(StrEnum):
    """Which way a metric is better."""

    MAXIMIZE = "max"
    MINIMIZE = "min"

    def better(self, new: float, old: float) -> bool:
        """Whether `new` is strictly better than `old`; NaN never is."""
        return new > old if self is Direction.MAXIMIZE else new < old

    @property
    def worst(self) -> float:
        """The value that every finite one beats."""
        return float("-inf") if self is Direction.MAXIMIZE else float("inf")

    @property
    def sign(self) -> float:
        """What a value is multiplied with so that less is better."""
        return -1.0 if self is Direction.MAXIMIZE else 1.0


ROBUSTNESS = "robustness"
"""A model's main metric in a shifted domain as a share of that in its own; the mean over domains."""


@dataclass(frozen=True)
class MetricName:
    """A metric's name, taken apart: `dice`, `dice/cat`, `dice@blurred`, `robustness@blurred`."""

    base: str
    of_class: str | None = None
    domain: str | None = None

    @classmethod
    def of(cls, metric: str) -> MetricName:
        """The parts of `metric`. What follows a '/' is a class, whatever stands in its name."""
        base, slash, of_class = metric.partition("/")
        base, at, domain = base.partition("@")
        return cls(base, of_class if slash else None, domain if at else None)

    @property
    def name(self) -> str:
        """Without its domain: `dice`, `dice/cat`."""
        return self.base if self.of_class is None else f"{self.base}/{self.of_class}"

    def direction(self, task: Task) -> Direction:
        """Which way it is better."""
        return Direction.MINIMIZE if self.base in task.facts.lower_is_better else Direction.MAXIMIZE


class ValueRule(StrEnum):
    """Which report of a trial gives its value."""

    BEST = "best"
    LAST = "last"


class ObjectiveSpec(Spec):
    """What a sweep optimises, always on validation images.

    metric: a figure of the task, of one class (`dice/cat`), in a domain (`dice@blurred`), or a
    robustness: `robustness@blurred`, or `robustness` for the mean over all domains.
    """

    metric: str
    mode: Direction | None = None
    value: ValueRule = ValueRule.BEST


class ModelSpec(Spec):
    """A pretrained backbone: `embedded`, a hub id, or a local folder in hub format."""

    name: str = "embedded"
    revision: str | None = None
    image_size: tuple[Count, Count] | None = None
    """(height, width) in pixels; the checkpoint's processor decides when absent."""
    new_head: bool = False
    """Start with a new head even where the checkpoint's knows the data's classes, all or some."""
    trust_remote_code: bool = False
    """Whether code that the repository brings along is run; for one that you have read."""


class Workload(Spec):
    """What all trials of an experiment share; a worker loads it once."""

    task: Task
    model: ModelSpec = ModelSpec()
    data: DataSpec = DataSpec(embedded=EmbeddedData())
    objective: ObjectiveSpec

    @property
    def direction(self) -> Direction:
        """The objective's direction: as written, else the metric's own."""
        return self.objective.mode or MetricName.of(self.objective.metric).direction(self.task)

    @property
    def watched(self) -> tuple[str, ...]:
        """The domains whose validation figures the objective needs."""
        figure = MetricName.of(self.objective.metric)
        if figure.domain is not None:
            return (figure.domain,)
        return tuple(self.data.domains) if figure.base == ROBUSTNESS else ()
