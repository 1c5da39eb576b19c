"""What tests of search algorithms share: for each of them, settings that do something within a few trials."""

from __future__ import annotations

import json
from typing import Any

from spaces import BELIEVED, CONDITIONAL, FINITE, NUMBERS

from trainables.specs.workload import Direction
from tuning.experiment.sections.search import SearchSpec
from tuning.experiment.space import Space
from tuning.search.study import Study

CASES: dict[str, dict[str, Any]] = {
    "tpe": {"tpe": {"startup_trials": 3}},
    "gp": {"gp": {"startup_trials": 2}},
    "cmaes": {"cmaes": {"population": 4}},
    "nsga2": {"nsga2": {"population": 3}},
    "qmc": {"qmc": {}},
    "halton": {"qmc": {"sequence": "halton", "scramble": False}},
    "random": {"random": {}},
    "grid": {"grid": {}},
    "NSGAIISampler": {"optuna": {"sampler": "NSGAIISampler", "arguments": {"population_size": 3}}},
    "NSGAIIISampler": {"optuna": {"sampler": "NSGAIIISampler", "arguments": {"population_size": 3}}},
    "TPESampler": {
        "optuna": {
            "sampler": "TPESampler",
            "arguments": {"n_startup_trials": 3, "multivariate": True, "constant_liar": True},
        }
    },
}
"""Sections of `search` that tests try, by a name for them."""
LISTED = ("grid",)
"""Those that list their configurations."""
DRAWN = tuple(name for name in CASES if name not in LISTED)

FIRST: dict[int, list[dict[str, Any]]] = {
    id(CONDITIONAL): [
        {"adapter": "none", "learning_rate": 1e-3, "freezing": "full", "targets": ["query", "value"]},
        {
            "adapter": "lora",
            "learning_rate": 1e-2,
            "lora.rank": 4,
            "freezing": "frozen",
            "targets": ["query"],
        },
    ],
    id(FINITE): [{"adapter": "lora", "lora.rank": 8, "learning_rate": 1e-2}],
    id(NUMBERS): [{"learning_rate": 1e-3, "lora.rank": 4, "lora.dropout": 0.2, "batch_size": 8}],
}
FIRST[id(BELIEVED)] = FIRST[id(CONDITIONAL)]


def space_for(name: str) -> Space:
    """A space that the algorithm takes."""
    return {"grid": FINITE, "cmaes": NUMBERS}.get(name, CONDITIONAL)


def search_for(name: str, **more: Any) -> SearchSpec:
    """The section of a case, with `seed`, `first` and so on."""
    return SearchSpec.model_validate_json(json.dumps(CASES[name] | more))


def first_in(space: Space) -> list[dict[str, Any]]:
    """Configurations that may be tried first."""
    return FIRST[id(space)]


def study(name: str, space: Space, *, trials: int | None = 14, seed: int = 3, **given: Any) -> Study:
    """A study as the driver builds it. given: `first`, and from the ledger `history` and `earlier`."""
    spec = search_for(name.partition(", ")[0], seed=seed, first=given.pop("first", []))
    return Study(space, spec, name="sweep", direction=Direction.MAXIMIZE, trials=trials, **given)
