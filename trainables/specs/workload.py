"""What all trials of an experiment share: task, model, data, objective."""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from enum import StrEnum

from pydantic import field_validator

from trainables.specs.base import Count, Spec
from trainables.specs.costs import COSTS, CostMetric
from trainables.specs.data import DataSpec, EmbeddedData, HubBoxes
from trainables.specs.definitions import Definitions
from trainables.specs.smaller_images import Size, SmallerImages
from trainables.specs.tasks import TASK_FACTS, TaskFacts


class Task(StrEnum):
    """The task that a model is fine-tuned for."""

    DETECTION = "detection"
    SEGMENTATION = "segmentation"
    INSTANCE_SEGMENTATION = "instance_segmentation"

    @property
    def facts(self) -> TaskFacts:
        """What is known about the task without its models."""
        return TASK_FACTS[self.value]


class Direction(StrEnum):
    """Whether higher or lower values of a metric are better."""

    MAXIMIZE = "max"
    MINIMIZE = "min"

    def better(self, new: float, old: float) -> bool:
        """Whether `new` is strictly better than `old`; NaN never is."""
        return new > old if self is Direction.MAXIMIZE else new < old

    @property
    def worst(self) -> float:
        """The value that every finite value is better than."""
        return float("-inf") if self is Direction.MAXIMIZE else float("inf")

    @property
    def sign(self) -> float:
        """The factor that makes a lower value better."""
        return -1.0 if self is Direction.MAXIMIZE else 1.0


ROBUSTNESS = "robustness"
"""A model's main metric in a shifted domain divided by that in its own domain, both above their floors;
without a domain's name, the mean over all domains."""


@dataclass(frozen=True)
class MetricName:
    """The parts of a metric's name: `dice`, `dice/cat`, `dice@blurred`, `dice/cat@blurred`, `robustness`."""

    base: str
    of_class: str | None = None
    domain: str | None = None

    @classmethod
    def of(cls, metric: str, domains: Container[str] | None = None) -> MetricName:
        """The parts of `metric`.

        domains: those of the data. A class name may contain '@' ("a@b"), a domain's name may not: with
        `domains`, the text after the last '@' of `dice/a@b` is a domain only if it is one of them.
        """
        base, slash, rest = metric.partition("/")
        if not slash:
            base, at, domain = base.partition("@")
            return cls(base, None, domain if at else None)
        if "@" in base:  # `dice@blurred/cat` is no name; its base is unknown to every task
            return cls(base, rest)
        of_class, at, domain = rest.rpartition("@")
        if at and of_class and (domains is None or domain in domains):
            return cls(base, of_class, domain)
        return cls(base, rest)

    @property
    def name(self) -> str:
        """The name without its domain: `dice`, `dice/cat`."""
        return self.base if self.of_class is None else f"{self.base}/{self.of_class}"

    @property
    def whole(self) -> str:
        """The name with its domain: `dice/cat@blurred`."""
        return self.name if self.domain is None else f"{self.name}@{self.domain}"

    @property
    def is_share(self) -> bool:
        """Whether its values lie between 0 and 1: all metrics but the loss and a robustness, a quotient."""
        return self.base not in ("loss", ROBUSTNESS)

    def direction(self, task: Task) -> Direction:
        """Whether higher or lower values are better."""
        return Direction.MINIMIZE if self.base in task.facts.lower_is_better else Direction.MAXIMIZE


class ValueRule(StrEnum):
    """Which report determines a trial's value."""

    BEST = "best"
    LAST = "last"


class ObjectiveSpec(Spec):
    """What a sweep optimises, always on validation images.

    metric: a metric of the task, of one class (`dice/cat`), in a domain (`dice@blurred`,
    `dice/cat@blurred`), or a robustness: `robustness@blurred`, or `robustness` for the mean over all
    domains.
    """

    metric: str
    mode: Direction | None = None
    value: ValueRule = ValueRule.BEST


class ModelSpec(Spec):
    """A pretrained backbone: `embedded`, a hub id, or a local folder in hub format."""

    name: str = "embedded"
    revision: str | None = None
    image_size: tuple[Count, Count] | None = None
    """(height, width) in pixels. When absent: the size of the checkpoint's processor."""
    new_head: bool = False
    """Start with a new head even if the checkpoint's head knows all or some of the data's classes."""
    trust_remote_code: bool = False
    """Whether to run the code in the model's repository; set it only if you have read that code."""

    @field_validator("name")
    @classmethod
    def _no_address(cls, name: str) -> str:
        """Refuse an address, which may hold a password: the name is recorded, shown and exported."""
        if "://" in name or re.match(r"[^/\s]*:[^/\s]*@", name):
            raise ValueError(
                "must be a folder in hub format, a hub id or 'embedded', not an address; a token for private"
                " models is in HF_TOKEN, another server in HF_ENDPOINT"
            )
        return name


class Workload(Spec):
    """What all trials of an experiment share; a worker loads it once."""

    task: Task
    model: ModelSpec = ModelSpec()
    data: DataSpec = DataSpec(embedded=EmbeddedData())
    objective: ObjectiveSpec
    also: tuple[str, ...] = ()
    """The metrics, costs among them, that further objectives and constraints need."""
    definitions: Definitions = Definitions()
    each_fold: bool = False
    """Whether trials name their folds, `TrialConfig.fold`, so that all of `data.splits.folds` are needed."""
    smaller: SmallerImages | None = None
    """The sizes of images in the first epochs of a trial, if they are smaller than the model's own."""

    def at_size(self, size: Size | None = None) -> Workload:
        """The same with images of one size in all epochs: `size`, or the model's own."""
        model = self.model if size is None else self.model.model_copy(update={"image_size": size})
        return self.model_copy(update={"model": model, "smaller": None})

    def at_fold(self, fold: int | None) -> Workload:
        """The same with one fold for all trials; None: the one of the data section."""
        update = {} if fold is None else {"fold": fold}
        splits = self.data.splits.model_copy(update=update)
        return self.model_copy(
            update={"data": self.data.model_copy(update={"splits": splits}), "each_fold": False}
        )

    @property
    def given_data(self) -> DataSpec:
        """The data as they are read: in experiments of before, boxes of a hub data set are corners."""
        hub = self.data.hub
        if hub is None or self.definitions.hub > 1:
            return self.data
        return self.data.model_copy(update={"hub": hub.model_copy(update={"boxes": HubBoxes.XYXY})})

    @property
    def direction(self) -> Direction:
        """The direction of the objective: `mode` if given, otherwise the default of the metric."""
        return self.objective.mode or self.metric.direction(self.task)

    @property
    def metric(self) -> MetricName:
        """The parts of the objective's metric."""
        return MetricName.of(self.objective.metric, self.data.domains)

    @property
    def metric_in_domain(self) -> str:
        """The objective's metric without its domain; for an objective on robustness, the task's main one."""
        return self.task.facts.main_metric if self.metric.base == ROBUSTNESS else self.metric.name

    @property
    def metrics(self) -> tuple[MetricName, ...]:
        """The parts of all metrics on validation images that are needed, that of the objective first."""
        more = (name for name in self.also if name not in COSTS)
        return (self.metric, *(MetricName.of(name, self.data.domains) for name in more))

    def named(self, metric: MetricName) -> str:
        """How a message names one of `metrics`: with its key in the file."""
        return f"{'objective.metric' if metric == self.metric else 'metric'} {metric.whole}"

    @property
    def counts_macs(self) -> bool:
        """Whether the multiplications of each trial's model are to be counted."""
        return CostMetric.MACS in self.also

    @property
    def measures_latency(self) -> bool:
        """Whether the time of a forward pass of each trial's model is to be measured."""
        return CostMetric.LATENCY_MS in self.also

    @property
    def watched(self) -> tuple[str, ...]:
        """The domains in which validation metrics are needed, by the objective or by others."""
        return tuple(dict.fromkeys(name for metric in self.metrics for name in self.domains_of(metric)))

    @property
    def domains_of_objective(self) -> tuple[str, ...]:
        """The domains in which the objective needs validation metrics."""
        return self.domains_of(self.metric)

    def domains_of(self, metric: MetricName) -> tuple[str, ...]:
        """The domains in which a metric needs validation metrics."""
        if metric.domain is not None:
            return (metric.domain,)
        return tuple(self.data.domains) if metric.base == ROBUSTNESS else ()
