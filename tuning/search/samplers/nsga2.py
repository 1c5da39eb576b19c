"""Optuna's NSGA-II, with generations that are a function of the trials that have ended."""

from __future__ import annotations

from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.samplers._lazy_random_state import LazyRandomState
from optuna.samplers.nsgaii import UniformCrossover
from optuna.samplers.nsgaii._child_generation_strategy import NSGAIIChildGenerationStrategy
from optuna.samplers.nsgaii._elite_population_selection_strategy import NSGAIIElitePopulationSelectionStrategy
from optuna.trial import FrozenTrial

from tuning.experiment.sections.search import Nsga2Spec
from tuning.search.samplers.counted_trials import CountedStudy, by_end, counted
from tuning.search.samplers.draw import Draw
from tuning.search.samplers.joint import JointSampler


def build_nsga2(spec: Nsga2Spec, draw: Draw) -> BaseSampler:
    """Build NSGA-II (Deb et al. 2002)."""
    return _Nsga2(spec, draw)


class _Nsga2(JointSampler):
    """Closes a generation when as many trials have ended as it has, whoever proposed them and when.

    Optuna's counts a trial in the generation in which it was proposed. So one that ends late, or was given
    first, or comes from another experiment, is never a parent, however good it is.

    Settings that all parents have are crossed as Optuna does it. One that depends on conditions comes from a
    parent that has it.
    """

    def __init__(self, spec: Nsga2Spec, draw: Draw) -> None:
        super().__init__(draw)
        self._spec = spec

    def draw_settings(
        self, study: optuna.Study, trial: FrozenTrial, settings: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        view = counted(study)
        parents = self._parents(view)
        if not parents:
            return {}
        common = {n: d for n, d in sorted(settings.items()) if all(n in p.params for p in parents)}
        random = LazyRandomState(self.draw.seed)
        drawn: dict[str, Any] = {}
        if common:
            cross = NSGAIIChildGenerationStrategy(
                crossover=UniformCrossover(self._spec.swap),
                crossover_prob=self._spec.crossover,
                swapping_prob=self._spec.swap,
                mutation_prob=self._mutation(len(common)),
                rng=random,
            )
            drawn = cross(view, common, parents)
        for name in sorted(settings.keys() - common.keys()):
            # Each draws as often, so that a setting does not change the draws of those after it.
            place, mutates = random.rng.rand(), random.rng.rand() < self._mutation(len(settings))
            having = [parent.params[name] for parent in parents if name in parent.params]
            if having and not mutates:
                drawn[name] = having[int(place * len(having))]
        return drawn

    def _mutation(self, settings: int) -> float:
        return self._spec.mutation if self._spec.mutation is not None else 1.0 / settings

    def _parents(self, view: CountedStudy) -> list[FrozenTrial]:
        """The elite of each closed generation and the parents before it; empty in the first generation."""
        select = NSGAIIElitePopulationSelectionStrategy(population_size=self._spec.population)
        size, ended = self._spec.population, by_end(view.finished)
        parents: list[FrozenTrial] = []
        for start in range(0, len(ended) - size + 1, size):
            parents = select(view, [*ended[start : start + size], *parents])
        return parents
