"""Hyperband: its rungs end at the last epoch, and a trial's bracket is a function of seed and number."""

from __future__ import annotations

from collections import Counter

from trainables.specs.workload import Direction
from tuning.experiment.sections.scheduler import HyperbandSpec
from tuning.scheduling.context import RuleContext
from tuning.scheduling.hyperband import bracket_of, bracket_shares, build_hyperband
from tuning.scheduling.rule import CONTINUE, STOP

SHARES = bracket_shares(4, 3.0)


def test_brackets_take_about_the_same_number_of_epochs() -> None:
    assert SHARES == (27, 12, 6, 4)  # as n in Hyperband's loop for R = 27 and a factor of 3


def test_a_bracket_is_drawn_by_seed_and_number_alone() -> None:
    drawn = [bracket_of(number, seed=0, shares=SHARES) for number in range(4900)]
    assert drawn == [bracket_of(number, seed=0, shares=SHARES) for number in range(4900)]
    counts = Counter(drawn)
    assert all(abs(counts[bracket] - 100 * share) < 200 for bracket, share in enumerate(SHARES))
    other = [bracket_of(number, seed=1, shares=SHARES) for number in range(4900)]
    assert 0.3 < sum(a == b for a, b in zip(drawn, other, strict=True)) / 4900 < 0.5  # as of chance


def test_trials_are_compared_within_their_bracket_from_its_first_rung_on() -> None:
    rule = build_hyperband(HyperbandSpec(), Direction.MAXIMIZE, max_epochs=27, context=RuleContext(seed=4))
    assert rule is not None
    bracket = [bracket_of(number, seed=4, shares=SHARES) for number in range(200)]
    stopped: dict[int, float] = {}
    for epoch in range(1, 27):
        for number in range(200):
            if number not in stopped and rule.decide(number, epoch, number % 17 + epoch / 100) == STOP:
                stopped[number] = epoch
    for number, epoch in stopped.items():
        assert epoch >= 3 ** bracket[number]
    assert {bracket[number] for number in stopped} == {0, 1, 2}  # the last bracket runs all its epochs
    assert any(epoch == 1 for epoch in stopped.values())


def test_fewer_brackets_are_those_that_begin_first() -> None:
    spec = HyperbandSpec(brackets=1)
    rule = build_hyperband(spec, Direction.MINIMIZE, max_epochs=27)
    assert rule is not None
    assert [rule.decide(n, 1.0, n) for n in range(9)] == [CONTINUE, *[STOP] * 8]


def test_no_rung_below_the_budget_means_no_rule() -> None:
    assert build_hyperband(HyperbandSpec(), Direction.MAXIMIZE, max_epochs=1) is None
