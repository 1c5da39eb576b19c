"""A study of given results, and what a sampler draws from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuning.experiment.sections.search import SearchSpec
from tuning.experiment.space import Space
from tuning.search.distributions import as_asked
from tuning.search.samplers.draw import Draw
from tuning.search.samplers.registry import build_sampler


def trial(
    space: Space,
    params: dict[str, Any],
    value: float | None,
    *,
    state: TrialState = TrialState.COMPLETE,
    steps: dict[int, float] | None = None,
    ended: int | None = None,
) -> FrozenTrial:
    """A trial as the search has it. ended: its place in the order of ends; None: of another sweep."""
    distributions: dict[str, Any] = {}
    given = as_asked(space, params, distributions)
    return create_trial(
        state=state,
        value=value,
        params=given,
        distributions=distributions,
        intermediate_values=steps or {},
        user_attrs={"earlier": "old:0"} if ended is None else {"ended": ended},
    )


def draws(
    space: Space,
    search: dict[str, Any],
    trials: Sequence[FrozenTrial],
    *,
    count: int = 20,
    direction: str = "maximize",
) -> list[dict[str, Any]]:
    """Configurations that would be drawn next, each with a seed of its own."""
    found = []
    spec = SearchSpec.model_validate_json(json.dumps(search))
    for seed in range(count):
        study = optuna.create_study(direction=direction)
        study.add_trials(trials)
        study.sampler = build_sampler(spec, Draw(seed, study, space, 0))
        found.append(space.suggest(study.ask()))
    return found
