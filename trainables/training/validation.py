"""What a report says of validation images: metrics, those under shift, the interval above the floor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from trainables.data.prepared import Prepared, PreparedSplit
from trainables.metrics.above_floor import Interval
from trainables.metrics.intervals import Sampled, interval, robustness_interval
from trainables.metrics.prepared_floors import prepared_floors
from trainables.metrics.results import Results
from trainables.metrics.robustness import under_shift
from trainables.specs.data import Split
from trainables.specs.trial import TrialConfig
from trainables.specs.workload import ROBUSTNESS, Direction, MetricName, Workload
from trainables.tasks.base import TaskModel
from trainables.training.evaluation import metrics_of


@dataclass(frozen=True)
class Validated:
    """metrics: on validation images.  above_floor: see `Report`."""

    metrics: dict[str, float]
    above_floor: Interval | None


@dataclass(frozen=True)
class Validation:
    """One worker's data and task, for the models of any number of trials."""

    workload: Workload
    task: TaskModel
    data: Prepared
    domains: Mapping[str, Mapping[Split, PreparedSplit]]
    """Images of the shifted domains, by name."""
    device: torch.device

    @cached_property
    def floors(self) -> dict[str, dict[str, float]]:
        """See `prepared_floors`; computed once, from the masks."""
        return prepared_floors(self.data, self.workload)

    def measure(
        self,
        model: nn.Module,
        config: TrialConfig,
        *,
        batch_size: int = 32,
        features: Callable[[PreparedSplit], PreparedSplit] = lambda split: split,
    ) -> Validated:
        """Metrics on validation images, including those that an objective under shift needs.

        The latter are `dice@NAME`, `dice/CLASS@NAME`, `robustness@NAME` and `robustness`. With them comes the
        interval of the objective's metric above its floor, over the same images. For a task with boxes
        there is also SCORE_THRESHOLD, which travels with the adapter as a part of its report.
        Of the metrics of single classes, only those in `reported` are here.

        features: gives images with the hidden states that the model continues from, where they are kept.
        """
        asked, sampled = self._sampled_metric(), dict[str | None, Sampled | None]()

        def metrics_in(domain: str | None) -> dict[str, float]:
            part = self.data.splits if domain is None else self.domains[domain]

            def keep(results: Results) -> None:
                assert asked is not None
                sampled[domain] = results.above_floor(asked)

            here = asked is not None and domain in self._sampled_sets()
            found = metrics_of(
                self.task,
                model,
                features(part[Split.VALIDATION]),
                config,
                device=self.device,
                batch_size=batch_size,
                keep=keep if here else None,
                choose_threshold=domain is None,
            )
            return reported(found, self.workload)

        own = metrics_in(None)
        watched = {name: metrics_in(name) for name in self.workload.watched}
        metrics = own | under_shift(self.workload, own, watched, self.floors) if watched else own
        return Validated(metrics, self._interval(sampled))

    def _interval(self, sampled: Mapping[str | None, Sampled | None]) -> Interval | None:
        """The interval of the objective above its floor. sampled: by domain, None for the data's own."""
        if self.workload.metric.base == ROBUSTNESS:
            return robustness_interval(
                sampled.get(None), [sampled.get(name) for name in self.workload.domains_of_objective]
            )
        return interval([part for part in sampled.values() if part is not None])

    def _sampled_sets(self) -> tuple[str | None, ...]:
        """The domains whose images the interval is computed on; None for the data's own."""
        domains = self.workload.domains_of_objective
        return (None, *domains) if self.workload.metric.base == ROBUSTNESS else domains or (None,)

    def _sampled_metric(self) -> MetricName | None:
        """The metric that the interval above the floor is computed of, without its domain; None if none.

        A robustness is computed of the main metric, in domain and in each domain.
        """
        asked = self.workload.metric
        if not self.workload.definitions.with_floors or self.workload.direction is Direction.MINIMIZE:
            return None
        if asked.base == ROBUSTNESS:
            return MetricName(self.workload.task.facts.main_metric)
        return MetricName(asked.base, asked.of_class)


def reported(metrics: Mapping[str, float], workload: Workload) -> dict[str, float]:
    """The metrics of one set of images that a report holds.

    A detector has twelve metrics of each class: a thousand numbers for COCO's 80, in each report of each
    trial. A report holds `facts.reported_by_class` of every class, and the objectives. Scores on test
    images and `evaluate` hold all of them.
    """
    by_class = workload.task.facts.reported_by_class
    asked = {metric.name for metric in workload.metrics}
    return {
        name: value
        for name, value in metrics.items()
        if name in asked or "/" not in name or name.partition("/")[0] in by_class
    }
