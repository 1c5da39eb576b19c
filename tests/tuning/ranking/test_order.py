from __future__ import annotations

import math

import pytest

from trainables.specs.workload import Direction
from tuning.ledger.history import TrialHistory
from tuning.ledger.outcomes import Outcome
from tuning.ledger.records import EndedRecord
from tuning.ranking.order import Entry, best_first, recorded_entry
from tuning.ranking.policy import ANY_BUDGET, FINISHED, FINISHED_THEN_STOPPED, Policy, asked_policy

ENTRIES = [
    Entry(0, Outcome.PRUNED, 0.9, 2.0),
    Entry(1, Outcome.COMPLETED, 0.5, 6.0),
    Entry(2, Outcome.COMPLETED, 0.7, 6.0),
    Entry(3, None, 0.8, 3.0),
    Entry(4, Outcome.EARLY_STOPPED, 0.7, 4.0),
    Entry(5, Outcome.DIVERGED, 0.99, 6.0),
    Entry(6, Outcome.COMPLETED, None, 6.0),
    Entry(7, Outcome.COMPLETED, math.nan, 6.0),
    Entry(8, Outcome.STOPPED, 0.1, 3.0),
]


def order(policy: Policy, direction: Direction = Direction.MAXIMIZE, most: int | None = None) -> list[int]:
    return [each.number for each in best_first(reversed(ENTRIES), lambda e: e, policy, direction, most)]


@pytest.mark.parametrize(
    ("policy", "numbers"),
    [
        (FINISHED, [2, 4, 1]),
        (ANY_BUDGET, [0, 3, 2, 4, 1, 8]),
        (FINISHED_THEN_STOPPED, [2, 4, 1, 0, 8]),
        (asked_policy(3.0, early_stopped=False), [3, 2, 4, 1, 8]),
    ],
)
def test_better_trials_come_first_of_equal_ones_the_lower_number(policy: Policy, numbers: list[int]) -> None:
    assert order(policy) == numbers
    assert order(policy, most=2) == numbers[:2]
    assert order(policy, most=20) == numbers


def test_where_less_is_better_the_smallest_comes_first_and_ties_stay() -> None:
    assert order(FINISHED, Direction.MINIMIZE) == [1, 2, 4]
    assert order(FINISHED_THEN_STOPPED, Direction.MINIMIZE) == [1, 2, 4, 8, 0]


def test_equal_trials_of_several_experiments_follow_their_names() -> None:
    entries = [Entry(n, None, 0.5, experiment=name) for name, n in (("b", 0), ("a", 2), ("a", 1), ("B", 3))]
    found = best_first(entries, lambda e: e, ANY_BUDGET, Direction.MAXIMIZE)
    assert [(e.experiment, e.number) for e in found] == [("B", 3), ("a", 1), ("a", 2), ("b", 0)]


def test_an_entry_of_a_trial_has_its_recorded_value() -> None:
    ended = EndedRecord(trial=4, outcome=Outcome.PRUNED, value=0.5, epoch=3.0)
    assert recorded_entry(TrialHistory(4, {}, "", 0.0, ended=ended)) == Entry(4, "pruned", 0.5, 3.0)
    assert recorded_entry(TrialHistory(4, {}, "", 0.0)) == Entry(4, None, None, 0.0)


def test_a_trial_that_ended_outside_its_constraints_is_not_ranked() -> None:
    ended = EndedRecord(trial=4, outcome=Outcome.COMPLETED, value=0.9, epoch=3.0, broken=["peak_mb"])
    outside = recorded_entry(TrialHistory(4, {}, "", 0.0, ended=ended))
    assert outside == Entry(4, "completed", 0.9, 3.0, feasible=False)
    inside = Entry(5, "completed", 0.1, 3.0)
    assert best_first([outside, inside], lambda e: e, FINISHED, Direction.MAXIMIZE) == [inside]
