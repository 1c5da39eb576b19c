"""The names and distributions under which Optuna gets a space's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from pydantic import JsonValue

from tuning.experiment.alternative import as_scalar
from tuning.experiment.space import Space


def as_asked(
    space: Space, params: Mapping[str, JsonValue], distributions: dict[str, BaseDistribution]
) -> dict[str, Any]:
    """Return `params` under the names by which `space` asks Optuna for them.

    distributions: the distribution of each of these names is added to it.
    """
    names = _Names(params, distributions)
    space.suggest(names)
    return names.given


def all_distributions(space: Space) -> dict[str, BaseDistribution]:
    """Return the distribution of everything that `space` may ask Optuna for, by the names of `suggest`."""
    found: dict[str, BaseDistribution] = {}
    for _, _, alternative, label in space.labelled():
        alternative.suggest(_First(found), label)
    return found


def with_scalars(distribution: BaseDistribution) -> BaseDistribution:
    """Return the distribution with choices that are lists or mappings as text, for use with scalars only."""
    if isinstance(distribution, CategoricalDistribution):
        return CategoricalDistribution([as_scalar(choice) for choice in distribution.choices])
    return distribution


class _Names:
    """Replaces a trial, to record the names under which the space asks for given parameters.

    distributions: the distribution of each name is added to it.
    """

    def __init__(self, params: Mapping[str, JsonValue], distributions: dict[str, BaseDistribution]) -> None:
        self._params = params
        self._distributions = distributions
        self.given: dict[str, Any] = {}

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        if name not in self._distributions:
            self._distributions[name] = CategoricalDistribution(choices)
        return self._answer(name)

    def suggest_int(self, name: str, low: int, high: int, **how: Any) -> Any:
        if name not in self._distributions:
            self._distributions[name] = IntDistribution(low, high, **how)
        return self._answer(name)

    def suggest_float(self, name: str, low: float, high: float, **how: Any) -> Any:
        if name not in self._distributions:
            self._distributions[name] = FloatDistribution(low, high, **how)
        return self._answer(name)

    def _answer(self, name: str) -> Any:
        self.given[name] = self._params[name.split("@")[0]]
        return self.given[name]


class _First:
    """Replaces a trial, to record the distributions that it is asked for. Answers with any value."""

    def __init__(self, distributions: dict[str, BaseDistribution]) -> None:
        self._distributions = distributions

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        self._distributions[name] = CategoricalDistribution(choices)
        return choices[0]

    def suggest_int(self, name: str, low: int, high: int, **how: Any) -> Any:
        self._distributions[name] = IntDistribution(low, high, **how)
        return low

    def suggest_float(self, name: str, low: float, high: float, **how: Any) -> Any:
        self._distributions[name] = FloatDistribution(low, high, **how)
        return low
