"""Optuna's tree-structured Parzen estimator."""

from __future__ import annotations

import warnings

import optuna
from optuna.samplers import BaseSampler, TPESampler

from tuning.experiment.sections.search import TpeSpec


def build_tpe(spec: TpeSpec, seed: int, study: optuna.Study) -> BaseSampler:
    """Build a TPE (Bergstra et al. 2011) that models settings jointly and conditional ones in groups.

    Trials that run are modelled as bad ones ("constant liar"), so that trials side by side differ.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return TPESampler(
            n_startup_trials=spec.startup_trials,
            multivariate=True,
            group=True,
            constant_liar=True,
            seed=seed,
        )
