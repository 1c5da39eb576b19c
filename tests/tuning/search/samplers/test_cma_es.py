"""CMA-ES: what moves its distribution."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from drawn import draws, trial
from optuna.trial import FrozenTrial, TrialState
from spaces import NUMBERS

from tuning.experiment.space import Space

LINE = Space.parse({"learning_rate": {"float": [0.0, 1.0]}, "warmup": {"float": [0.0, 1.0]}})
SEARCH = {"cmaes": {"population": 4}}


def mean(made: list[dict[str, Any]]) -> float:
    return sum(params["learning_rate"] for params in made) / len(made)


def near(rate: float, count: int, *, first: int = 0, **more: Any) -> list[FrozenTrial]:
    """Trials around a rate, the nearer the better."""
    rng = random.Random(first)
    made = []
    for number in range(first, first + count):
        off = rng.uniform(-0.1, 0.1)
        value = -abs(off)
        params = {"learning_rate": rate + off, "warmup": rng.random()}
        steps = {1000: value} if more.get("state") is TrialState.PRUNED else None
        made.append(trial(LINE, params, value, ended=number, steps=steps, **more))
    return made


def test_it_begins_in_the_middle_and_within_the_space() -> None:
    made = draws(LINE, SEARCH, [], count=60)
    assert mean(made) == pytest.approx(0.5, abs=0.1)
    made = draws(NUMBERS, {"cmaes": {}}, [], count=20)
    assert all(NUMBERS.locate(params) == (params, {}) for params in made)
    rates = [math.log10(params["learning_rate"]) for params in made]
    assert sum(rates) / len(rates) == pytest.approx(-3.0, abs=0.7)  # the middle of its logarithm


def test_sigma_is_the_width_at_first() -> None:
    wide, narrow = (
        [p["learning_rate"] for p in draws(LINE, {"cmaes": {"sigma": s}}, [])] for s in (0.3, 0.01)
    )
    assert max(narrow) - min(narrow) < 0.1 < max(wide) - min(wide)


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.PRUNED])
def test_it_moves_towards_good_trials_whoever_proposed_them(state: TrialState) -> None:
    """`search.first` gives trials that it did not draw; ASHA gives pruned ones."""
    before = mean(draws(LINE, SEARCH, near(0.2, 3, state=state)))
    after = mean(draws(LINE, SEARCH, near(0.2, 24, state=state)))
    assert after < 0.35 < before


def test_generations_are_closed_in_the_order_of_ends() -> None:
    def ended(order: tuple[int, ...]) -> list[dict[str, Any]]:
        rates = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
        trials = [
            trial(LINE, {"learning_rate": rate, "warmup": 0.5}, -abs(rate - 0.35), ended=end)
            for rate, end in zip(rates, order, strict=True)
        ]
        return draws(LINE, SEARCH, trials, count=2)

    assert ended((0, 1, 2, 3, 4, 5, 6, 7)) == ended((3, 2, 1, 0, 7, 6, 5, 4))  # the same generations
    assert ended((0, 1, 2, 3, 4, 5, 6, 7)) != ended((7, 1, 2, 3, 4, 5, 6, 0))


def test_it_minimizes_where_that_is_the_direction() -> None:
    trials = [trial(LINE, {"learning_rate": r / 24, "warmup": 0.5}, r / 24, ended=r) for r in range(24)]
    random.Random(0).shuffle(trials)
    low, high = (mean(draws(LINE, SEARCH, trials, direction=d)) for d in ("minimize", "maximize"))
    assert low < high


def test_trials_of_other_experiments_shape_the_first_distribution() -> None:
    rng = random.Random(0)
    earlier = [
        trial(LINE, {"learning_rate": r, "warmup": rng.random()}, -abs(r - 0.8))
        for r in (rng.random() for _ in range(30))
    ]
    assert mean(draws(LINE, SEARCH, earlier)) == pytest.approx(0.8, abs=0.1)
    assert mean(draws(LINE, SEARCH, earlier[:1])) == pytest.approx(
        earlier[0].params["learning_rate"], abs=0.2
    )
