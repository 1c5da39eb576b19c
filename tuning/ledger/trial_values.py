"""The values of a trial's objectives and constraints, from its lines in the ledger alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from trainables.specs.costs import CostMetric
from trainables.specs.workload import ValueRule
from tuning.experiment.goals import Goals
from tuning.ledger.history import TrialHistory
from tuning.ledger.records import BuiltRecord, ReportRecord

PARTS = ("adapter", "head", "backbone")
"""The parts of a model whose parameters train."""


@dataclass
class TrialValues:
    """Follows one trial, report by report.

    All metrics are those of one report, the one that gives the first objective its value: so they belong to
    one model, the one whose weights are kept under the rule `best`. Costs are of the trial as a whole.
    """

    goals: Goals
    parameters: Mapping[str, int] | None = None
    macs: int | None = None
    latency_ms: float | None = None
    peak_mb: float | None = None
    first: float | None = None
    """The running objective."""
    _metrics: Mapping[str, float | None] = field(default_factory=dict)

    def built(self, record: BuiltRecord) -> None:
        """Take what its model costs; a time that was measured before counts."""
        self.parameters, self.macs = record.parameters, record.macs
        self.latency_ms = record.latency_ms if self.latency_ms is None else self.latency_ms

    def report(self, record: ReportRecord) -> None:
        """Take the next report, of a later epoch than those before."""
        self.peak_mb = max(self.peak_mb or 0.0, record.peak_mb)
        new, goals = record.objective, self.goals
        if new is None or not math.isfinite(new):
            return
        if (
            goals.rule is ValueRule.LAST
            or self.first is None
            or goals.first.direction.better(new, self.first)
        ):
            self._metrics = {name: record.metrics.get(name) for name in goals.metrics}
        self.first = new

    @property
    def values(self) -> dict[str, float]:
        """The values by metric; one that is absent, or not finite, is left out."""
        found = {name: self._of(name) for name in self.goals.metrics}
        return {name: v for name, v in found.items() if v is not None and math.isfinite(v)}

    def _of(self, metric: str) -> float | None:
        match metric:
            case self.goals.first.metric:
                return self.first
            case CostMetric.PARAMETERS:
                return None if self.parameters is None else float(trainable(self.parameters))
            case CostMetric.MACS:
                return None if self.macs is None else float(self.macs)
            case CostMetric.PEAK_MB:
                return self.peak_mb
            case CostMetric.LATENCY_MS:
                return self.latency_ms
            case _:
                return self._metrics.get(metric)


def values_of(trial: TrialHistory, goals: Goals) -> dict[str, float]:
    """The values of a trial by its reports so far."""
    followed = TrialValues(goals, trial.parameters, trial.macs, trial.latency_ms)
    for report in trial.reports:
        followed.report(report)
    return followed.values


def trainable(parameters: Mapping[str, int]) -> int:
    """The parameters that train, or will, from the counts by part."""
    return sum(parameters.get(part, 0) for part in PARTS)
