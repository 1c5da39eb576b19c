"""How much a search has left to gain at most, as Optuna's Terminator computes it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import optuna
from optuna.study import StudyDirection
from optuna.terminator import RegretBoundEvaluator

from trainables.specs.workload import Direction
from tuning.experiment.alternative import as_scalar
from tuning.experiment.space import Space
from tuning.ledger.history import TrialHistory
from tuning.search.distributions import all_distributions, with_scalars


def regret_bound(space: Space, trials: Sequence[TrialHistory], direction: Direction, *, seed: int) -> float:
    """A bound on how much better than the best trial a configuration can be (Makarova et al. 2022).

    A Gaussian process is fitted to the better half of `trials`, over the settings that all trials have; the
    bound is the largest upper confidence bound anywhere, less the largest lower one at a trial. It holds with
    high probability if the model is right. Infinite without trials, or if no setting has two values.

    trials: with finite values.
    """
    labels = [label for _, when, _, label in space.labelled() if not when]
    found = {label: with_scalars(all_distributions(space)[label]) for label in labels}
    distributions = {label: of for label, of in found.items() if not of.single()}
    if not trials or not distributions:
        return math.inf
    told = [
        optuna.trial.create_trial(
            value=trial.value,
            params={label: as_scalar(trial.params[label.split("@")[0]]) for label in distributions},
            distributions=distributions,
        )
        for trial in sorted(trials, key=lambda trial: trial.number)
    ]
    maximize = direction is Direction.MAXIMIZE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is experimental
        evaluator = RegretBoundEvaluator(seed=seed)
        way = StudyDirection.MAXIMIZE if maximize else StudyDirection.MINIMIZE
        return float(evaluator.evaluate(told, way))
