"""The search algorithms that an experiment file may name in `search`.

An algorithm either draws configurations with an Optuna sampler or lists them all. A sampler is built
again for each draw, and the study is built again from the ledger when a sweep resumes. So a draw must be
a function of the spec, the seeds and the study: its trials' parameters, states, values and intermediate
values, their places and the order of their ends. What a sampler stores in system attributes of the study or
of the trial that it draws is recorded for the algorithms in `NOTING`, and lost for the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from optuna.samplers import BaseSampler
from pydantic import JsonValue

from tuning.experiment.sections.search import SearchSpec
from tuning.experiment.space import Space
from tuning.search.samplers.cma_es import build_cmaes
from tuning.search.samplers.draw import Draw
from tuning.search.samplers.gp import build_gp
from tuning.search.samplers.grid import list_grid
from tuning.search.samplers.nsga2 import build_nsga2
from tuning.search.samplers.optuna_named import build_named
from tuning.search.samplers.prior import WithPrior, has_prior
from tuning.search.samplers.qmc import build_qmc
from tuning.search.samplers.random_search import build_random
from tuning.search.samplers.tpe import build_tpe


class BuildSampler(Protocol):
    """Builds the sampler for one draw, from its own section of the file."""

    def __call__(self, spec: Any, draw: Draw) -> BaseSampler:
        """Build the sampler."""
        ...


class ListConfigurations(Protocol):
    """Lists all configurations that an algorithm proposes, given its own section of the file."""

    def __call__(self, spec: Any, space: Space) -> Iterator[dict[str, JsonValue]]:
        """List the configurations."""
        ...


SAMPLERS: Mapping[str, BuildSampler] = {
    "tpe": build_tpe,
    "gp": build_gp,
    "cmaes": build_cmaes,
    "nsga2": build_nsga2,
    "qmc": build_qmc,
    "random": build_random,
    "optuna": build_named,
}
"""Algorithms that draw configurations, by the key of their section."""
LISTS: Mapping[str, ListConfigurations] = {"grid": list_grid}
"""Algorithms that list all their configurations, by the key of their section."""
NOTING = frozenset({"qmc", "optuna"})
"""Algorithms whose samplers note what later draws need, in system attributes."""
ASKS: Mapping[str, int] = {"gp": 2}
"""How often an algorithm is asked for an untried configuration, if it is not as often as the others. With
another seed a Gaussian process proposes the same again."""


def build_sampler(search: SearchSpec, draw: Draw) -> BaseSampler:
    """Build the experiment's sampler for one draw. The algorithm must not be one that lists."""
    sampler = SAMPLERS[search.algorithm](search.section, draw)
    return WithPrior(sampler, draw) if has_prior(draw) else sampler


def list_configurations(search: SearchSpec, space: Space) -> Iterator[dict[str, JsonValue]] | None:
    """List all that the experiment's algorithm proposes; None if it draws instead."""
    if search.algorithm not in LISTS:
        return None
    return LISTS[search.algorithm](search.section, space)
