"""The stopping rule of a sweep, with what its record says of the rules' version and of the trials."""

from __future__ import annotations

from tuning.experiment.spec import Experiment
from tuning.ledger.history import History
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
        population=population_of(experiment, recorder.history),
        member=lambda number: not added_by_user(recorder.history, number),
        goals=recorder.goals,
    )
    return build_rule(
        experiment.scheduler,
        experiment.workload.direction,
        max_epochs=experiment.max_epochs,
        context=context,
    )


def population_of(experiment: Experiment, history: History) -> int | None:
    """How many trials the search proposes, without those that were added; None if it has no such number."""
    trials = experiment.search.trials
    return None if trials is None else trials - len(history.added)


def added_by_user(history: History, number: int) -> bool:
    """Whether a user added a trial; those that replace others in a population count as proposed."""
    trial = history.trials[number]
    if trial.parent is not None:
        return trial.parent.instead_of is None
    return any(added.hash == trial.hash for added in history.added)
