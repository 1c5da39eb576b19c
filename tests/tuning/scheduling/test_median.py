"""The median rule: its first version against Ray's, and what it does with equal values."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any

import pytest
from ray.tune.schedulers import MedianStoppingRule

from trainables.specs.workload import Direction
from tuning.experiment.sections.scheduler import MedianSpec
from tuning.scheduling.context import AS_RAY, RuleContext
from tuning.scheduling.median import build_median
from tuning.scheduling.rule import CONTINUE, STOP

BEFORE = RuleContext(version=AS_RAY)


@dataclass(frozen=True)
class Entrant:
    """All that Ray's rule reads of a trial."""

    trial_id: str


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize(("grace", "step", "least"), [(1.0, 1.0, 3), (0.6, 0.4, 1), (2.0, 0.5, 5)])
@pytest.mark.parametrize("places", [1, 6])
def test_every_decision_of_the_first_version_is_rays(
    direction: Direction, grace: float, step: float, least: int, places: int
) -> None:
    spec = MedianSpec(grace_epochs=grace, min_trials=least)
    own = build_median(spec, direction, max_epochs=9, context=BEFORE)
    current = build_median(spec, direction, max_epochs=9)
    rays = MedianStoppingRule(
        time_attr="epoch", metric="objective", mode=direction.value,
        grace_period=grace, min_samples_required=least, min_time_slice=math.inf,
    )  # fmt: skip
    rng = random.Random(1)
    heights = {number: rng.random() for number in range(80)}
    going = dict.fromkeys(heights, 0.0)
    stopped = other = 0
    while going:
        number = rng.choice(list(going)[:6])
        going[number] += step
        epoch = going[number]
        objective = round(heights[number] + rng.gauss(0, 0.1), places)  # with one place some are equal
        result: Any = {"epoch": epoch + 1e-9, "objective": objective}
        ends = epoch >= 8.9
        if ends:
            rays.on_trial_complete(None, Entrant(str(number)), result)
            own.finish(number, epoch, objective)
            current.finish(number, epoch, objective)
        else:
            ends = rays.on_trial_result(None, Entrant(str(number)), result) == "STOP"
            assert (own.decide(number, epoch, objective) == STOP) == ends
            differs = (current.decide(number, epoch, objective) == STOP) != ends
            other += differs
            stopped += ends
        if ends:
            del going[number]
    assert 20 < stopped < 80
    assert (other > 0) == (places == 1)


@pytest.mark.parametrize("direction", Direction)
def test_of_trials_that_are_all_equal_about_half_continue(direction: Direction) -> None:
    for context, fewest, most in ((RuleContext(), 60, 140), (BEFORE, 200, 200)):
        rule = build_median(MedianSpec(), direction, max_epochs=9, context=context)
        kept = list(range(200))
        for epoch in (1.0, 2.0, 3.0):
            kept = [number for number in kept if rule.decide(number, epoch, 0.0) == CONTINUE]
        assert fewest <= len(kept) <= most


def test_it_compares_with_as_many_trials_as_asked() -> None:
    rule = build_median(MedianSpec(min_trials=3), Direction.MAXIMIZE, max_epochs=9)
    decisions = [rule.decide(number, 1, 0.9 - number / 10) for number in range(5)]
    assert decisions == [CONTINUE, CONTINUE, CONTINUE, STOP, STOP]


def test_it_stops_none_before_its_grace_is_over() -> None:
    rule = build_median(MedianSpec(grace_epochs=3, min_trials=1), Direction.MINIMIZE, max_epochs=9)
    for epoch in (1, 2):
        assert [rule.decide(number, epoch, number) for number in range(4)] == [CONTINUE] * 4
    assert [rule.decide(number, 3, number) for number in range(4)] == [CONTINUE, STOP, STOP, STOP]
