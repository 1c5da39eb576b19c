"""Whose a trial's best weights must be, by the record."""

from __future__ import annotations

from trainables.run_folder import BEST_WEIGHTS
from trainables.specs.owner import Owner
from tuning.experiment.spec import Experiment
from tuning.ledger.history import TrialHistory
from tuning.ledger.outcomes import RAN_TO_END


def owner_of(experiment: Experiment, trial: TrialHistory) -> Owner:
    """The trial, its configuration and, if it ran to its end, the recorded SHA-256 of its best weights.

    The weights of one that was cut short may be of a report that no longer counted.
    """
    return Owner(
        trial=trial.number,
        config=experiment.trial_config(dict(trial.settings)),
        sha256=trial.saved.get(BEST_WEIGHTS) if trial.outcome in RAN_TO_END else None,
    )
