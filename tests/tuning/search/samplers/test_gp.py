"""The Gaussian process: one model for each branch, and trials that were stopped early."""

from __future__ import annotations

import math
import random
from typing import Any

from drawn import draws, trial
from optuna.trial import FrozenTrial, TrialState

from tuning.experiment.space import Space

BRANCHES = Space.parse(
    {
        "adapter": {"choice": ["lora", "loha"]},
        "lora.rank": {"int": [1, 32]},
        "loha.rank": {"int": [1, 32]},
    }
)
RATE = Space.parse({"learning_rate": {"float": [1e-5, 1e-1], "log": True}})
SEARCH = {"gp": {"startup_trials": 4}}


def branched(count: int) -> list[FrozenTrial]:
    """LoRA is better, best at a rank of 20; LoHa is best at 5."""
    rng = random.Random(0)
    made = []
    for number in range(count):
        params = BRANCHES.sample(rng)
        name, best, base = ("lora.rank", 20, 1.0) if params["adapter"] == "lora" else ("loha.rank", 5, 0.5)
        rank = params[name]
        assert isinstance(rank, int)
        made.append(trial(BRANCHES, params, base - 0.02 * abs(rank - best), ended=number))
    return made


def test_it_finds_the_branch_and_the_best_of_its_settings() -> None:
    made = draws(BRANCHES, SEARCH, branched(24), count=5)
    assert all(params["adapter"] == "lora" for params in made)
    assert all(abs(params["lora.rank"] - 20) <= 3 for params in made)


def test_settings_of_a_branch_with_few_trials_are_random() -> None:
    trials = [t for t in branched(24) if t.params["adapter"] == "loha"]
    lora = [t for t in branched(24) if t.params["adapter"] == "lora"][:2]
    made = draws(BRANCHES, SEARCH, [*trials, *lora], count=12)
    ranks = {params["lora.rank"] for params in made if params["adapter"] == "lora"}
    assert len(ranks) > 3


def rated(state: TrialState) -> list[FrozenTrial]:
    rates = [1e-5 * 10 ** (4 * n / 11) for n in range(12)]
    return [
        trial(
            RATE,
            {"learning_rate": rate},
            -abs(math.log10(rate) + 2.5),
            state=state,
            steps={1000: -abs(math.log10(rate) + 2.5)},
            ended=number,
        )
        for number, rate in enumerate(rates)
    ]


def test_pruned_trials_count() -> None:
    def rates(trials: list[FrozenTrial]) -> list[float]:
        return [math.log10(p["learning_rate"]) for p in draws(RATE, SEARCH, trials, count=4)]

    assert all(abs(rate + 2.5) < 0.5 for rate in rates(rated(TrialState.PRUNED)))
    assert rates(rated(TrialState.PRUNED)) == rates(rated(TrialState.COMPLETE))


def test_a_nearly_constant_result_does_no_harm() -> None:
    rng = random.Random(1)
    trials: list[Any] = [trial(RATE, RATE.sample(rng), 0.5, ended=n) for n in range(6)]
    made = draws(RATE, {"gp": {"startup_trials": 4, "deterministic": True}}, trials, count=2)
    assert all(1e-5 <= params["learning_rate"] <= 1e-1 for params in made)
