"""What a stopping rule may depend on besides its own section of the file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from trainables.specs.definitions import Definitions
from tuning.experiment.goals import Goals

AS_RAY: Final = 1
"""The first version of the rules asha and median, in which they decide as Ray Tune's; see `MEANINGS`."""
STRICT_AGAIN: Final = 2
"""The last version in which a trial that a rung let through is compared there again as strictly."""


def no_params(number: int) -> Mapping[str, JsonValue]:
    """Nothing is known of a trial's parameters."""
    return {}


@dataclass(frozen=True)
class RuleContext:
    """All of it is in the record before a trial's first report, so that a replayed rule has the same.

    seed: `search.seed`.  version: of the rules, as in the experiment's definitions.  params_of: the
    parameters of a trial, by its number.
    """

    seed: int = 0
    version: int = Definitions().stopping
    params_of: Callable[[int], Mapping[str, JsonValue]] = no_params
    population: int | None = None
    """How many trials the search proposes; None if their number is not limited."""
    member: Callable[[int], bool] = lambda number: True
    """Whether a trial belongs to the population: it was not added by a user."""
    goals: Goals | None = None
    """What is weighed; None if that is one objective."""

    def factor_again(self, factor: float) -> float:
        """The factor by which a trial is compared again at a rung that let it through.

        Half way from the rung's own factor to 1, so that a trial just above the cut is not stopped by the
        chance of who comes next. `benchmarks.stopping_rules` compares the two.
        """
        return factor if self.version <= STRICT_AGAIN else (1 + factor) / 2

    def group_of(self, number: int, within: tuple[str, ...]) -> tuple[str, ...]:
        """The values of the parameters `within`, as text; a trial that does not have one has null there."""
        params = self.params_of(number)
        return tuple(json.dumps(params.get(name), sort_keys=True) for name in within)


NO_CONTEXT: Final = RuleContext()
"""Seed 0, and nothing is known of the trials but their reports."""
