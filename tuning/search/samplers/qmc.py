"""Optuna's quasi-random sequences over the whole space."""

from __future__ import annotations

import warnings

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, QMCSampler
from optuna.trial import FrozenTrial

from tuning.experiment.sections.search import QmcSpec
from tuning.search.distributions import all_distributions
from tuning.search.samplers.draw import Draw


def build_qmc(spec: QmcSpec, draw: Draw) -> BaseSampler:
    """Build a sampler that takes the next point of a sequence; which one, the study's attributes say."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return _Qmc(spec, draw)


class _Qmc(QMCSampler):  # type: ignore[misc]
    """Has a coordinate for each setting under each of its conditions, from the first trial on.

    Optuna's has those of the first trial, which is random, and draws all others at random.
    """

    def __init__(self, spec: QmcSpec, draw: Draw) -> None:
        super().__init__(
            qmc_type=spec.sequence,
            scramble=spec.scramble,
            seed=draw.search_seed,
            warn_independent_sampling=False,
        )
        self._space = draw.space

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """All settings that have more than one value."""
        found = all_distributions(self._space)
        return {name: found[name] for name in sorted(found) if not found[name].single()}
