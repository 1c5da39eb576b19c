from __future__ import annotations

import pytest

from trainables.specs.workload import ValueRule
from tuning.ledger.outcomes import Outcome
from tuning.ranking.policy import (
    ANY_BUDGET,
    COMPARABLE,
    FALLBACKS,
    FINISHED,
    FINISHED_THEN_STOPPED,
    NOT_COMPARABLE,
    Policy,
    asked_policy,
    finalist_policy,
    live_policy,
)

AT_3 = asked_policy(3.0, early_stopped=False)
TABLE = {
    # outcome: its class when finished trials, all, finished then stopped, and all at epoch 3 are ranked
    Outcome.COMPLETED: (0, 0, 0, 0),
    Outcome.EARLY_STOPPED: (0, 0, 0, 0),
    Outcome.PRUNED: (None, 0, 1, 0),
    Outcome.STOPPED: (None, 0, 1, 0),
    Outcome.INTERRUPTED: (None, 0, None, 0),
    Outcome.RESTING: (None, 0, None, 0),
    Outcome.PAUSED: (None, 0, None, 0),
    None: (None, 0, None, 0),
    Outcome.FAILED: (None, None, None, None),
    Outcome.DIVERGED: (None, None, None, None),
    Outcome.REUSED: (None, None, None, None),
}


@pytest.mark.parametrize(("outcome", "classes"), TABLE.items(), ids=str)
def test_which_trials_are_ranked(outcome: Outcome | None, classes: tuple[int | None, ...]) -> None:
    policies = (FINISHED, ANY_BUDGET, FINISHED_THEN_STOPPED, AT_3)
    assert tuple(policy.class_of(outcome, 3.0) for policy in policies) == classes
    assert AT_3.class_of(outcome, 2.5) is None


def test_the_table_holds_every_outcome() -> None:
    assert set(TABLE) == {None, *Outcome} == COMPARABLE | NOT_COMPARABLE
    assert not COMPARABLE & NOT_COMPARABLE


def test_each_caller_has_a_policy() -> None:
    assert asked_policy(None, early_stopped=False) == FINISHED
    assert asked_policy(None, early_stopped=True) == ANY_BUDGET
    assert asked_policy(3.0, early_stopped=True) == AT_3 != ANY_BUDGET
    assert FALLBACKS == (FINISHED, ANY_BUDGET)
    assert {rule: live_policy(rule) for rule in ValueRule} == {
        ValueRule.BEST: ANY_BUDGET,
        ValueRule.LAST: FINISHED,
    }
    assert {rule: finalist_policy(rule) for rule in ValueRule} == {
        ValueRule.BEST: FINISHED_THEN_STOPPED,
        ValueRule.LAST: FINISHED,
    }


def test_a_policy_is_a_value() -> None:
    used = Policy(FINISHED.classes)
    used.class_of("completed")
    assert used == FINISHED
    assert hash(used) == hash(FINISHED)
