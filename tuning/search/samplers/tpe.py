"""Optuna's tree-structured Parzen estimator."""

from __future__ import annotations

import warnings
from typing import Any

import optuna
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial

from tuning.experiment.sections.search import TpeSpec
from tuning.search.samplers.draw import Draw


class _Tpe(TPESampler):  # type: ignore[misc]
    """TPE that knows the same of a running trial as of a finished one: the settings that it has.

    Optuna's keeps in a system attribute all settings that it drew jointly for a trial, also those that
    the trial's conditions then exclude, and counts them as long as the trial runs. The ledger has none of
    that, so a study that is built again would propose other configurations.
    """

    def _get_params(self, trial: FrozenTrial, study: optuna.Study) -> dict[str, Any]:  # private; Optuna 5.0
        params: dict[str, Any] = trial.params
        return params


def build_tpe(spec: TpeSpec, draw: Draw) -> BaseSampler:
    """Build a TPE (Bergstra et al. 2011) that models settings jointly and conditional ones in groups.

    Trials that run are modelled as bad ones ("constant liar"), so that trials side by side differ.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return _Tpe(
            n_startup_trials=spec.startup_trials,
            multivariate=True,
            group=True,
            constant_liar=True,
            seed=draw.seed,
        )
