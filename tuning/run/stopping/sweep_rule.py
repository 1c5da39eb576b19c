"""The stopping rule of a sweep, with what its record says of the rules' version and of the trials."""

from __future__ import annotations

from tuning.experiment.spec import Experiment
from tuning.ledger.recorder import Recorder
from tuning.scheduling.context import RuleContext
from tuning.scheduling.registry import build_rule
from tuning.scheduling.rule import StoppingRule


def build_sweep_rule(experiment: Experiment, recorder: Recorder) -> StoppingRule | None:
    """Build a fresh rule, of the version that the experiment began with; None if no trial can be stopped.

    A trial's parameters are in the record from its start on, so it never reports without them.
    """
    context = RuleContext(
        seed=experiment.search.seed,
        version=experiment.definitions.stopping,
        params_of=lambda number: recorder.trial(number).params,
        goals=recorder.goals,
    )
    return build_rule(
        experiment.scheduler,
        experiment.workload.direction,
        max_epochs=experiment.max_epochs,
        context=context,
    )
