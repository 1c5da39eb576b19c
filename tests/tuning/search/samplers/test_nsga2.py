"""Which trials are parents in NSGA-II, and what their children are like."""

from __future__ import annotations

import random
from typing import Any

from drawn import draws, trial
from optuna.trial import FrozenTrial, TrialState
from spaces import CONDITIONAL, NUMBERS

NO_CHANGE = {"nsga2": {"population": 4, "crossover": 0.0, "mutation": 0.0}}
"""A child is one of the parents."""
GOOD = {"learning_rate": 1e-2, "lora.rank": 8, "lora.dropout": 0.1, "batch_size": 16}


def bad(number: int) -> FrozenTrial:
    params = NUMBERS.sample(random.Random(number))
    return trial(NUMBERS, params, 0.01 * number, ended=number)


def drawn_from(trials: list[FrozenTrial], **more: Any) -> list[dict[str, Any]]:
    return draws(NUMBERS, {"nsga2": NO_CHANGE["nsga2"] | more}, trials)


def test_the_first_generation_is_random() -> None:
    trials = [bad(number) for number in range(3)]
    known = [t.params for t in trials]
    assert all(params not in known for params in drawn_from(trials))


def test_children_come_from_the_parents_and_good_ones_have_more() -> None:
    trials = [*(bad(number) for number in range(3)), trial(NUMBERS, GOOD, 1.0, ended=3)]
    made = drawn_from(trials)
    assert all(params in [t.params for t in trials] for params in made)
    assert made.count(GOOD) > len(made) / 4


def test_a_late_trial_is_a_parent_of_the_next_generation() -> None:
    """It was proposed first of all, and ends after a generation is closed."""
    late = trial(NUMBERS, GOOD, 1.0, ended=7)
    others = [bad(number) for number in range(7)]
    assert GOOD in drawn_from([late, *others])
    assert GOOD not in drawn_from([late, *others[:6]])  # its generation is not closed yet


def test_trials_of_other_experiments_are_parents() -> None:
    earlier = [trial(NUMBERS, NUMBERS.sample(random.Random(n)), 0.1) for n in range(3)]
    assert GOOD in drawn_from([*earlier, trial(NUMBERS, GOOD, 1.0)])


def test_a_pruned_trial_is_a_parent_and_a_failed_one_is_not() -> None:
    def with_the_good_one(state: TrialState) -> list[FrozenTrial]:
        value = 1.0 if state is TrialState.PRUNED else None
        steps = {1000: 1.0}
        return [
            *(bad(number) for number in range(3)),
            trial(NUMBERS, GOOD, value, state=state, steps=steps, ended=3),
        ]

    assert GOOD in drawn_from(with_the_good_one(TrialState.PRUNED))
    assert GOOD not in drawn_from([*with_the_good_one(TrialState.FAIL), bad(4)])


def test_the_best_of_all_generations_stay_parents() -> None:
    trials = [trial(NUMBERS, GOOD, 1.0, ended=0), *(bad(number) for number in range(1, 12))]
    assert GOOD in drawn_from(trials)


def test_conditional_settings_come_from_a_parent_that_has_them() -> None:
    rng = random.Random(0)
    params = [CONDITIONAL.sample(rng) for _ in range(12)]
    trials = [trial(CONDITIONAL, given, rng.random(), ended=n) for n, given in enumerate(params)]
    kept = {"nsga2": {"population": 12, "mutation": 0.0}}
    for made in draws(CONDITIONAL, kept, trials, count=40):
        for name in ("lora.rank", "adalora.init_rank", "learning_rate"):
            assert name not in made or made[name] in [given.get(name) for given in params]


def test_mutation_draws_settings_again() -> None:
    trials = [bad(number) for number in range(4)]
    known = [t.params["learning_rate"] for t in trials]
    made = drawn_from(trials, mutation=1.0)
    assert all(params["learning_rate"] not in known for params in made)
