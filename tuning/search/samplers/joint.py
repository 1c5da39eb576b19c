"""The base of samplers that draw all settings of a configuration together."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial

from tuning.search.distributions import all_distributions
from tuning.search.samplers.draw import Draw


class JointSampler(BaseSampler):  # type: ignore[misc]
    """Draws all settings that the space has under any condition; those that do not apply are not used.

    What `draw_settings` leaves out is drawn at random.
    """

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self._random = RandomSampler(seed=draw.seed)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The settings that have more than one value."""
        found = all_distributions(self.draw.space)
        return {name: distribution for name, distribution in found.items() if not distribution.single()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw a configuration."""
        return self.draw_settings(study, trial, search_space) if search_space else {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw a setting at random."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    @abstractmethod
    def draw_settings(
        self, study: optuna.Study, trial: FrozenTrial, settings: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw values of `settings`, by the names of `Space.suggest`."""
