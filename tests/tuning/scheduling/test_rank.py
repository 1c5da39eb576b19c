"""ASHA's rule `rank`: the best of a rung go on, and are compared once more with those that come later."""

from __future__ import annotations

from typing import Any

import pytest

from trainables.specs.workload import Direction
from tuning.experiment.sections.scheduler import AshaRule, AshaSpec
from tuning.scheduling.asha import build_asha
from tuning.scheduling.context import NO_CONTEXT, STRICT_AGAIN, RuleContext
from tuning.scheduling.rank import Rank
from tuning.scheduling.rule import CONTINUE, REST, STOP, StoppingRule
from tuning.scheduling.tie_break import mixed


def rank(
    direction: Direction = Direction.MAXIMIZE, *, context: RuleContext = NO_CONTEXT, **settings: Any
) -> StoppingRule:
    rule = build_asha(AshaSpec(rule=AshaRule.RANK, **settings), direction, max_epochs=27, context=context)
    assert rule is not None
    return rule


def test_the_own_value_counts_and_the_best_of_n_over_factor_go_on() -> None:
    rule = rank()
    # n // 3 is 0 of the first two, so one goes on; the third of 0.5, 0.6, 0.4 is the worst of three.
    assert [rule.decide(n, 1.0, v) for n, v in enumerate((0.5, 0.6, 0.4))] == [CONTINUE, CONTINUE, STOP]
    # With six values two go on.
    assert [rule.decide(n, 1.0, v) for n, v in ((3, 0.1), (4, 0.2), (5, 0.55))] == [STOP, STOP, CONTINUE]


def test_a_smaller_value_is_better_where_asked() -> None:
    rule = rank(Direction.MINIMIZE)
    assert [rule.decide(n, 1.0, v) for n, v in enumerate((0.5, 0.6, 0.4))] == [CONTINUE, STOP, CONTINUE]


def test_a_trial_is_compared_again_with_those_that_came_after_it() -> None:
    rule = rank()
    assert rule.decide(0, 1.0, 0.5) == CONTINUE
    assert rule.decide(1, 1.0, 0.6) == CONTINUE
    # Trial 1 was better at epoch 1; what trial 0 has now does not count.
    assert rule.decide(0, 2.0, 0.9) == STOP
    assert rule.decide(1, 2.0, 0.1) == CONTINUE


@pytest.mark.parametrize(("version", "stays"), [(STRICT_AGAIN, False), (STRICT_AGAIN + 1, True)])
def test_the_best_half_stay_of_those_that_a_third_were_let_through(version: int, stays: bool) -> None:
    rule = rank(context=RuleContext(version=version))
    # Of four the best two, where before only the best one, as at the rung itself.
    assert [rule.decide(n, 1.0, v) for n, v in enumerate((0.5, 0.6, 0.1, 0.2))] == [
        CONTINUE,
        CONTINUE,
        STOP,
        STOP,
    ]
    assert rule.decide(0, 2.0, 0.5) == (CONTINUE if stays else STOP)
    assert rule.decide(4, 1.0, 0.55) == STOP  # the second of five at the rung
    assert rule.decide(5, 1.0, 0.65) == CONTINUE
    assert rule.decide(0, 2.5, 0.9) == STOP  # the fourth of six


def test_compared_again_a_trial_is_to_be_above_half_way_from_the_factor_to_one() -> None:
    rule = rank(reduction_factor=5.0)
    assert rule.decide(0, 1.0, 0.5) == CONTINUE
    for number in range(1, 6):
        assert rule.decide(number, 1.0, 0.1) == STOP
    assert rule.decide(6, 1.0, 0.7) == CONTINUE
    assert rule.decide(0, 2.0, 0.5) == CONTINUE  # the second of seven, of which 7 // 3 stay
    assert rule.decide(7, 1.0, 0.8) == CONTINUE
    assert rule.decide(0, 3.0, 0.0) == STOP  # the third of eight


def test_before_the_first_rung_nothing_is_compared() -> None:
    rule = rank()
    assert [rule.decide(n, 0.5, v) for n, v in enumerate((0.9, 0.1, 0.0))] == [CONTINUE] * 3


def test_trials_that_ran_to_their_end_are_compared_with() -> None:
    rule = rank()
    for number in range(3):
        rule.finish(number, 4.0, 0.5)
    assert rule.decide(3, 3.0, 0.4) == STOP
    assert rule.decide(4, 1.0, 0.4) == CONTINUE  # they counted at epoch 3 only


def resting() -> Rank:
    rule = build_asha(AshaSpec(rule=AshaRule.RANK, rest=True), Direction.MAXIMIZE, max_epochs=27)
    assert isinstance(rule, Rank)
    return rule


def test_at_a_rung_of_fewer_than_factor_a_trial_rests_until_the_best_of_them_continues() -> None:
    rule = resting()
    assert [rule.decide(n, 1.0, v) for n, v in enumerate((0.5, 0.6))] == [REST, REST]
    assert rule.next_rested(none_left=False) is None
    assert rule.decide(2, 1.0, 0.4) == STOP
    able = rule.next_rested(none_left=False)
    assert able is not None
    assert able.number == 1
    rule.wake(1)
    assert rule.resting == {0}
    assert rule.next_rested(none_left=False) is None
    assert rule.decide(1, 1.0, 0.6) == CONTINUE  # reported again
    assert [rule.decide(1, epoch, 0.6) for epoch in (2.0, 3.0)] == [CONTINUE, REST]


def test_a_resting_trial_is_overtaken_by_better_ones() -> None:
    rule = resting()
    assert [rule.decide(n, 1.0, v) for n, v in enumerate((0.5, 0.6))] == [REST, REST]
    assert rule.decide(2, 1.0, 0.9) == CONTINUE
    assert rule.next_rested(none_left=False) is None
    assert [rule.decide(n, 1.0, 0.1) for n in (3, 4, 5)] == [STOP] * 3
    able = rule.next_rested(none_left=False)  # the second best of six
    assert able is not None
    assert able.number == 1


def test_without_new_trials_the_best_of_a_rung_continues_and_the_highest_rung_first() -> None:
    rule = resting()
    assert rule.decide(0, 1.0, 0.5) == REST
    assert rule.next_rested(none_left=False) is None
    able = rule.next_rested(none_left=True)
    assert able is not None
    assert able.number == 0
    rule.wake(0)
    assert [rule.decide(0, epoch, 0.5) for epoch in (2.0, 3.0)] == [CONTINUE, REST]
    assert rule.decide(1, 1.0, 0.9) == REST
    able = rule.next_rested(none_left=True)
    assert able is not None
    assert able.number == 0


def test_a_trial_that_was_ended_does_not_continue() -> None:
    rule = resting()
    rule.decide(0, 1.0, 0.5)
    rule.wake(0)
    rule.wake(7)  # never rested
    assert rule.next_rested(none_left=True) is None


def test_hashes_of_numbers_are_different_and_favour_neither_end() -> None:
    hashes = [mixed(number) for number in range(10_000)]
    assert len(set(hashes)) == 10_000
    early = sum(value > 1 << 63 for value in hashes[:5000])
    late = sum(value > 1 << 63 for value in hashes[5000:])
    assert abs(early - 2500) < 150
    assert abs(late - 2500) < 150
    assert hashes[:2] == [16294208416658607535, 7960286522194355700]  # as published for seed 0
