from __future__ import annotations

from trainables.specs.workload import Direction
from tuning.experiment.sections.scheduler import MedianSpec
from tuning.scheduling.median import build_median
from tuning.scheduling.rule import CONTINUE, STOP


def test_it_never_pauses() -> None:
    rule = build_median(MedianSpec(min_trials=3), Direction.MAXIMIZE, max_epochs=9)
    for number in range(2):  # fewer than it needs; Ray's default setting would pause here
        assert rule.decide(number, 1, 0.5) == CONTINUE


def test_it_compares_with_as_many_trials_as_asked() -> None:
    rule = build_median(MedianSpec(min_trials=3), Direction.MAXIMIZE, max_epochs=9)
    decisions = [rule.decide(number, 1, 0.9 - number / 10) for number in range(5)]
    assert decisions == [CONTINUE, CONTINUE, CONTINUE, STOP, STOP]


def test_it_stops_none_before_its_grace_is_over() -> None:
    rule = build_median(MedianSpec(grace_epochs=3, min_trials=1), Direction.MINIMIZE, max_epochs=9)
    for epoch in (1, 2):
        assert [rule.decide(number, epoch, number) for number in range(4)] == [CONTINUE] * 4
    assert [rule.decide(number, 3, number) for number in range(4)] == [CONTINUE, STOP, STOP, STOP]
