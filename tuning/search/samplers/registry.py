"""The search algorithms that an experiment file may name in `search`.

An algorithm either draws configurations with an Optuna sampler or lists them all. A sampler is built
again for each draw, and the study is built again from the ledger when a sweep resumes. So a draw must be
a function of the spec, the seed and the study's trials: their parameters, states, values and intermediate
values. What a sampler stores elsewhere, such as in system attributes of the study or of its trials, is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import optuna
from optuna.samplers import BaseSampler
from pydantic import JsonValue

from tuning.experiment.sections.search import SearchSpec
from tuning.experiment.space import Space
from tuning.search.samplers.grid import list_grid
from tuning.search.samplers.random_search import build_random
from tuning.search.samplers.tpe import build_tpe


class BuildSampler(Protocol):
    """Builds the sampler for one draw, from its own section of the file, this draw's seed and the study."""

    def __call__(self, spec: Any, seed: int, study: optuna.Study) -> BaseSampler:
        """Build the sampler."""
        ...


class ListConfigurations(Protocol):
    """Lists all configurations that an algorithm proposes, given its own section of the file."""

    def __call__(self, spec: Any, space: Space) -> Iterator[dict[str, JsonValue]]:
        """List the configurations."""
        ...


SAMPLERS: Mapping[str, BuildSampler] = {"tpe": build_tpe, "random": build_random}
"""Algorithms that draw configurations, by the key of their section."""
LISTS: Mapping[str, ListConfigurations] = {"grid": list_grid}
"""Algorithms that list all their configurations, by the key of their section."""


def build_sampler(search: SearchSpec, seed: int, study: optuna.Study) -> BaseSampler:
    """Build the experiment's sampler for one draw. The algorithm must not be one that lists."""
    return SAMPLERS[search.algorithm](search.section, seed, study)


def list_configurations(search: SearchSpec, space: Space) -> Iterator[dict[str, JsonValue]] | None:
    """List all that the experiment's algorithm proposes; None if it draws instead."""
    if search.algorithm not in LISTS:
        return None
    return LISTS[search.algorithm](search.section, space)
