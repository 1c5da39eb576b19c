"""CMA-ES, as a function of the trials that have ended."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cmaes
import numpy as np
import optuna
from numpy.typing import NDArray
from optuna._transform import _SearchSpaceTransform
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from tuning.experiment.sections.search import CmaesSpec
from tuning.search.samplers.counted_trials import EARLIER, by_end, counted
from tuning.search.samplers.draw import Draw
from tuning.search.samplers.joint import JointSampler

Solution = tuple[NDArray[np.float64], float]
"""A point of the unit cube and its value; small is good."""
BEST_SHARE = 10
"""One in so many trials of other experiments shapes the first distribution (Nomura et al. 2021, gamma)."""


def build_cmaes(spec: CmaesSpec, draw: Draw) -> BaseSampler:
    """Build CMA-ES (Hansen 2016, of the package `cmaes`) for a space of numbers without conditions."""
    return _CmaEs(spec, draw)


class _CmaEs(JointSampler):
    """Updates a normal distribution from its beginning, by the ended trials in the order of their ends.

    Optuna's keeps the optimizer as a pickle in a trial's attributes, and loads it from there. Reading a
    record must not run code, so here it is computed from the trials. That also counts those that Optuna's
    does not: late ones, those of `search.first`, and pruned ones. Those of `search.from` shape the first
    distribution (warm start, Nomura et al. 2021).
    """

    def __init__(self, spec: CmaesSpec, draw: Draw) -> None:
        super().__init__(draw)
        self._spec = spec

    def draw_settings(
        self, study: optuna.Study, trial: FrozenTrial, settings: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        names = dict(sorted(settings.items()))
        cube = _SearchSpaceTransform(names, transform_step=True, transform_0_1=True)
        sign = -1.0 if study.direction is StudyDirection.MAXIMIZE else 1.0
        earlier: list[Solution] = []
        ended: list[Solution] = []
        for other in by_end(counted(study).finished):
            point = cube.transform({name: other.params[name] for name in names})
            (earlier if EARLIER in other.user_attrs else ended).append((point, sign * other.value))
        optimizer = self._begin(cube.bounds, earlier)
        size = optimizer.population_size
        for generation in _whole(ended, size):
            optimizer.tell(generation)
        drawn: dict[str, Any] = cube.untransform(optimizer.ask())
        return drawn

    def _begin(self, bounds: NDArray[np.float64], earlier: Sequence[Solution]) -> cmaes.CMA:
        mean = bounds.mean(axis=1)
        sigma, covariance = self._spec.sigma * float((bounds[:, 1] - bounds[:, 0]).min()), None
        if earlier:
            best = sorted(earlier, key=lambda solution: solution[1])[: math.ceil(len(earlier) / BEST_SHARE)]
            mean, sigma, covariance = cmaes.get_warm_start_mgd(best, gamma=1.0)
        return cmaes.CMA(
            mean=mean,
            sigma=sigma,
            bounds=bounds,
            cov=covariance,
            seed=self.draw.seed,
            n_max_resampling=10 * len(bounds),
            population_size=self._spec.population,
        )


def _whole(solutions: Sequence[Solution], size: int) -> list[list[Solution]]:
    """The generations that are complete."""
    return [list(solutions[start : start + size]) for start in range(0, len(solutions) - size + 1, size)]
