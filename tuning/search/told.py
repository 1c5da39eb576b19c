"""What Optuna is told of a trial that has ended: its state, its values, its constraints.

The study in memory is told it as the trial ends, and a study that is built again from the ledger gets the
same. With several objectives Optuna takes no intermediate values, and a pruned trial has no values there;
what it had reached is an attribute, for samplers that count pruned trials. A constraint that Optuna is not
told counts as kept, so all of them are told of each trial that has values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import TrialState

from trainables.specs.workload import Direction
from tuning.experiment.goals import Goals
from tuning.ledger.history import TrialHistory
from tuning.ledger.outcomes import Outcome
from tuning.search.samplers.counted_trials import REACHED

TOLD = {
    Outcome.COMPLETED: TrialState.COMPLETE,
    Outcome.EARLY_STOPPED: TrialState.COMPLETE,
    Outcome.PRUNED: TrialState.PRUNED,
    Outcome.STOPPED: TrialState.PRUNED,
    Outcome.DIVERGED: TrialState.FAIL,
    Outcome.FAILED: TrialState.FAIL,
}
"""Optuna's state for an outcome."""


@dataclass(frozen=True)
class End:
    """values: in the order of the objectives, of a complete trial.  constraints: above 0 where broken."""

    state: TrialState
    values: list[float] | None = None
    constraints: Mapping[str, float] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)


class Told:
    """What Optuna is told, given the goals of the sweep."""

    def __init__(self, goals: Goals) -> None:
        self._goals = goals

    @property
    def several(self) -> bool:
        """Whether there are several objectives."""
        return self._goals.several

    @property
    def directions(self) -> list[str]:
        """Those of the objectives, as Optuna names them."""
        return [
            "maximize" if goal.direction is Direction.MAXIMIZE else "minimize"
            for goal in self._goals.objectives
        ]

    def of(self, state: TrialState, value: float | None, values: Mapping[str, float]) -> End:
        """What is told of a trial. A trial that lacks a value is told as failed.

        value: of the first objective.  values: of all objectives and constraints, where there are more.
        """
        if state is TrialState.FAIL or value is None or not math.isfinite(value):
            return End(TrialState.FAIL)
        goals = self._goals
        if goals.single:
            return End(state, [value] if state is TrialState.COMPLETE else None)
        vector, violations = goals.vector(values), goals.violations(values)
        if vector is None or violations is None:
            return End(TrialState.FAIL)
        if state is TrialState.COMPLETE:
            return End(state, list(vector), violations)
        return End(state, None, violations, {REACHED: list(vector)} if goals.several else {})


def steps_of(trial: TrialHistory) -> dict[int, float]:
    """The running objective by step, in thousandths of an epoch; of reports of one step, the first."""
    steps: dict[int, float] = {}
    last = -1
    for report in trial.reports:
        step = round(report.epoch * 1000)
        if report.objective is not None and math.isfinite(report.objective) and step > last:
            steps[step], last = report.objective, step
    return steps
