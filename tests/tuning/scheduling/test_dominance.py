"""Dominance stops what others beat in everything, and no trial that is best at anything."""

from __future__ import annotations

import pytest

from trainables.specs.workload import Direction, ValueRule
from tuning.experiment.goals import Goal, Goals
from tuning.experiment.sections.objectives import BoundSpec
from tuning.experiment.sections.scheduler import DominanceSpec
from tuning.ledger.records import BuiltRecord, ReportRecord
from tuning.scheduling.context import NO_CONTEXT, STRICT_AGAIN, RuleContext
from tuning.scheduling.dominance import Dominance, build_dominance
from tuning.scheduling.rule import CONTINUE, STOP, Decision

OBJECTIVES = (
    Goal("dice", Direction.MAXIMIZE),
    Goal("parameters", Direction.MINIMIZE),
    Goal("loss", Direction.MINIMIZE),
)


def rule_of(
    objectives: int = 2,
    *,
    bounds: dict[str, BoundSpec] | None = None,
    version: int = NO_CONTEXT.version,
    **more: ValueRule,
) -> Dominance:
    goals = Goals(OBJECTIVES[:objectives], bounds or {}, **more)
    context = RuleContext(goals=goals, version=version)
    rule = build_dominance(DominanceSpec(), Direction.MAXIMIZE, max_epochs=9, context=context)
    assert rule is not None
    return rule


def decide(
    rule: Dominance, number: int, dice: float, *, parameters: int = 10, loss: float = 1.0, epoch: float = 1.0
) -> Decision:
    """A trial's report, as the driver shows and asks it."""
    rule.observe(BuiltRecord(trial=number, parameters={"adapter": parameters, "total": 1000}))
    metrics = {"dice": dice, "loss": loss}
    rule.observe(
        ReportRecord(trial=number, epoch=epoch, step=1, objective=dice, metrics=metrics, peak_mb=dice)
    )
    return rule.decide(number, epoch, dice)


def test_a_trial_that_another_beats_in_everything_stops() -> None:
    rule = rule_of()
    assert decide(rule, 0, 0.5) is CONTINUE
    assert decide(rule, 1, 0.4, parameters=20) is STOP
    assert decide(rule, 2, 0.4, parameters=5) is CONTINUE  # the cheapest
    assert decide(rule, 3, 0.9, parameters=50) is CONTINUE  # the best
    assert decide(rule, 4, 0.45, parameters=40) is STOP


def test_a_trial_goes_on_while_fewer_than_one_in_three_dominate_it() -> None:
    rule = rule_of()
    for number in range(6):
        assert decide(rule, number, 0.1 + 0.1 * number, parameters=10 + number) is CONTINUE  # a front
    assert decide(rule, 6, 0.55, parameters=15) is CONTINUE  # of 7, only trial 5 dominates it: fewer than 2
    assert decide(rule, 7, 0.45, parameters=15) is STOP  # trials 4, 5 and 6 do


def test_it_is_compared_again_with_those_that_have_come_since() -> None:
    rule = rule_of()
    assert decide(rule, 0, 0.5) is CONTINUE
    assert decide(rule, 1, 0.9, parameters=9) is CONTINUE
    assert decide(rule, 0, 0.95, epoch=2.0) is STOP  # by what both had at the first rung


@pytest.mark.parametrize(("version", "stays"), [(STRICT_AGAIN, False), (STRICT_AGAIN + 1, True)])
def test_compared_again_it_goes_on_while_fewer_than_half_dominate_it(version: int, stays: bool) -> None:
    rule = rule_of(version=version)
    assert [decide(rule, n, v) for n, v in enumerate((0.5, 0.6, 0.1, 0.2))] == [
        CONTINUE,
        CONTINUE,
        STOP,
        STOP,
    ]
    assert decide(rule, 0, 0.5, epoch=2.0) is (CONTINUE if stays else STOP)  # trial 1 does: one of four


def test_equal_trials_are_told_apart_so_that_a_plateau_is_stopped() -> None:
    rule = rule_of()
    decisions = [decide(rule, number, 0.0) for number in range(30)]
    assert 1 <= decisions.count(CONTINUE) <= 20


def test_all_metrics_are_those_of_the_report_that_gives_the_value() -> None:
    best, last = rule_of(3), rule_of(3, rule=ValueRule.LAST)
    for rule in (best, last):
        decide(rule, 0, 0.5, loss=0.5, epoch=0.5)
        decide(rule, 0, 0.5, loss=0.9, epoch=0.9)  # no better: the metrics of before stay
        decide(rule, 0, 0.5, loss=0.9)
    # A trial as good, with a loss between: worse than the first one's best report, better than its last.
    assert decide(best, 1, 0.5, loss=0.7) is STOP
    assert decide(last, 1, 0.5, loss=0.7) is CONTINUE


def test_a_trial_that_breaks_its_bounds_less_is_the_better_one() -> None:
    rule = rule_of(bounds={"peak_mb": BoundSpec(at_most=0.6)})
    assert decide(rule, 0, 0.9) is CONTINUE  # peak_mb is 0.9: over its bound by half
    assert decide(rule, 1, 0.7) is CONTINUE  # by a sixth
    assert decide(rule, 2, 0.95) is STOP
    assert decide(rule, 3, 0.5) is CONTINUE  # within it
    assert decide(rule, 0, 0.9, epoch=2.0) is STOP


def test_a_trial_without_a_value_is_neither_stopped_nor_compared() -> None:
    rule = rule_of(3)
    rule.observe(ReportRecord(trial=0, epoch=1.0, step=1, objective=0.9))
    assert rule.decide(0, 1.0, 0.9) is CONTINUE
    assert decide(rule, 1, 0.1) is CONTINUE


def test_there_is_no_rule_without_a_report_before_the_end() -> None:
    assert build_dominance(DominanceSpec(), Direction.MAXIMIZE, max_epochs=1) is None
