"""ASHA's rungs, its first version against Ray's ASHA, its groups, and what it does with equal values."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from pydantic import JsonValue
from ray.tune.schedulers import AsyncHyperBandScheduler

from trainables.specs.workload import Direction
from tuning.experiment.sections.rungs import rungs_down_from, rungs_from
from tuning.experiment.sections.scheduler import AshaRule, AshaSpec
from tuning.scheduling.asha import build_asha
from tuning.scheduling.context import AS_RAY, RuleContext
from tuning.scheduling.rule import CONTINUE, STOP, StoppingRule
from tuning.scheduling.threshold import percentile

ASHA = AshaSpec(grace_epochs=1.0, reduction_factor=3.0, rule=AshaRule.THRESHOLD)


def built(
    spec: AshaSpec, direction: Direction = Direction.MAXIMIZE, *, epochs: float = 27, **context: Any
) -> StoppingRule:
    rule = build_asha(spec, direction, max_epochs=epochs, context=RuleContext(**context))
    assert rule is not None
    return rule


# --- rungs ------------------------------------------------------------------------------------


def test_rungs_rise_by_the_factor_up_to_the_last_epoch() -> None:
    assert rungs_from(1.0, 3.0, 27) == (1, 3, 9, 27)
    assert rungs_from(2.0, 2.0, 9) == (2, 4, 8)


def test_rungs_counted_down_end_exactly_at_the_last_epoch() -> None:
    assert rungs_down_from(27, 3.0, 1.0) == (1, 3, 9, 27)
    assert rungs_down_from(50, 3.0, 2.0) == (50 / 3 / 3, 50 / 3, 50)


def test_there_are_as_many_rungs_as_ray_has() -> None:
    for grace in (0.01, 0.2, 1.0, 2.0, 5.0):
        for factor in (1.1, 2.0, 3.0, 4.5):
            for epochs in range(6, 244):
                ray = AsyncHyperBandScheduler(grace_period=grace, max_t=epochs, reduction_factor=factor)
                assert [at for at, _ in ray._brackets[0]._rungs] == [
                    *reversed(rungs_from(grace, factor, epochs))
                ]


def test_a_rung_at_a_fraction_of_an_epoch_sees_the_report_there() -> None:
    rule = built(AshaSpec(grace_epochs=0.2, reduction_factor=3.0), epochs=5)
    assert 0.2 * 3 > 3 / 5  # so the rule adds a tiny amount
    for number in range(2):
        rule.decide(number, 1 / 5, 0.5 + number)
    assert rule.decide(0, 3 / 5, 0.9) == CONTINUE
    assert rule.decide(1, 3 / 5, 0.5) == STOP


@pytest.mark.parametrize("max_epochs", [0, 0.5, 1])
@pytest.mark.parametrize("rule", AshaRule)
def test_no_rung_below_the_budget_means_no_rule(max_epochs: float, rule: AshaRule) -> None:
    assert build_asha(AshaSpec(rule=rule), Direction.MAXIMIZE, max_epochs=max_epochs) is None


# --- against Ray ------------------------------------------------------------------------------


class Entrant:
    def __init__(self, number: int) -> None:
        self.trial_id = str(number)


@pytest.mark.parametrize("factor", [1.1, 2.0, 3.0, 4.5])
def test_the_percentile_is_numpys_to_the_bit(factor: float) -> None:
    rng = random.Random(0)
    for count in (*range(1, 60), 1000, 4097):
        values = [rng.choice([rng.gauss(0, 1), 0.5, 1e-300, 1e12]) for _ in range(count)]
        percent = (1 - 1 / factor) * 100
        assert percentile(sorted(values), percent) == np.nanpercentile(values, percent)


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("step", [0.6, 1.0, 4.0])
@pytest.mark.parametrize(("grace", "factor"), [(1.0, 3.0), (0.6, 2.0), (2.0, 4.5)])
def test_every_decision_of_the_first_version_is_rays(
    direction: Direction, grace: float, factor: float, step: float
) -> None:
    """Reports skip rungs where a step is longer than the distance between two."""
    spec = AshaSpec(grace_epochs=grace, reduction_factor=factor, rule=AshaRule.THRESHOLD)
    own = built(spec, direction, version=AS_RAY)
    rays = AsyncHyperBandScheduler(
        time_attr="epoch", metric="objective", mode=direction.value,
        grace_period=grace, max_t=27, reduction_factor=factor, brackets=1,
    )  # fmt: skip
    rng = random.Random(1)
    going = dict.fromkeys(range(300), 0.0)
    stopped = 0
    for number in going:
        rays.on_trial_add(None, Entrant(number))
    while going:
        number = rng.choice(list(going))
        going[number] += step
        # Rounded, so that some values are equal.
        epoch, objective = going[number], round(rng.random(), 2)
        result = {"epoch": epoch + 1e-9, "objective": objective}
        ends = epoch >= 27 - step
        if ends:
            rays.on_trial_complete(None, Entrant(number), result)
            own.finish(number, epoch, objective)
        else:
            asked = rays.on_trial_result(None, Entrant(number), result)
            assert (own.decide(number, epoch, objective) == STOP) == (asked == "STOP")
            ends = asked == "STOP"
            stopped += ends
        if ends:
            del going[number]
    assert 50 < stopped < 300


def test_without_equal_values_and_skipped_rungs_the_versions_agree() -> None:
    old, new = built(ASHA, version=AS_RAY), built(ASHA)
    rng = random.Random(2)
    decided = []
    for number in range(200):
        for epoch in range(1, 27):
            value = rng.random()
            decided.append(old.decide(number, epoch, value))
            assert new.decide(number, epoch, value) == decided[-1]
            if decided[-1] == STOP:
                break
    assert {CONTINUE, STOP} == set(decided)


# --- equal values and skipped rungs -----------------------------------------------------------


def continuing(rule: StoppingRule, values: list[float], epoch: float = 1.0) -> list[int]:
    return [n for n, value in enumerate(values) if rule.decide(n, epoch, value) == CONTINUE]


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("rule", AshaRule)
def test_of_trials_that_are_all_equal_about_one_in_factor_continues(
    rule: AshaRule, direction: Direction
) -> None:
    kept = continuing(built(AshaSpec(rule=rule), direction), [0.0] * 300)
    assert 60 <= len(kept) <= 140
    assert continuing(built(AshaSpec(rule=rule), direction, version=AS_RAY), [0.0] * 300) == (
        list(range(300)) if rule is AshaRule.THRESHOLD else kept
    )


@pytest.mark.parametrize("rule", AshaRule)
def test_a_plateau_above_the_others_is_not_stopped_as_a_whole(rule: AshaRule) -> None:
    values = [0.0 if number % 3 else 1.0 for number in range(300)]
    kept = continuing(built(AshaSpec(rule=rule)), values)
    assert sum(values[number] for number in kept) >= 60


@pytest.mark.parametrize("rule", AshaRule)
def test_a_report_that_skips_rungs_counts_at_the_highest_one_only(rule: AshaRule) -> None:
    asha = built(AshaSpec(rule=rule))
    for number in range(6):
        asha.decide(number, 10.0, 0.9)
        asha.decide(number, 11.0, 0.9)
    assert asha.decide(6, 1.0, 0.1) == CONTINUE  # the first at that rung


def test_in_the_first_version_such_a_report_is_followed_by_one_at_a_lower_rung() -> None:
    asha = built(ASHA, version=AS_RAY)
    for epoch in (10.0, 11.0, 12.0):
        asha.decide(0, epoch, 0.9)
    assert asha.decide(1, 1.0, 0.1) == STOP


# --- within groups ----------------------------------------------------------------------------

FREEZING: list[JsonValue] = ["frozen", "unfrozen"]


def params_of(number: int) -> Mapping[str, JsonValue]:
    return {"freezing": FREEZING[number % 2], "learning_rate": number / 100}


@pytest.mark.parametrize("rule", AshaRule)
def test_trials_are_compared_within_their_group(rule: AshaRule) -> None:
    """Every frozen trial is worse than every unfrozen one: without groups one at most continues."""
    values = [number / 1000 + number % 2 for number in range(60)]
    alone = continuing(built(AshaSpec(rule=rule), params_of=params_of), values)
    grouped = continuing(built(AshaSpec(rule=rule, within=("freezing",)), params_of=params_of), values)
    assert sum(number % 2 == 0 for number in alone) <= 1
    assert sum(number % 2 == 0 for number in grouped) >= 10


def test_a_group_decides_as_a_rule_of_its_own() -> None:
    spec = AshaSpec(rule=AshaRule.RANK, within=("freezing",))
    grouped = built(spec, params_of=params_of)
    apart = [built(AshaSpec(rule=AshaRule.RANK)) for _ in range(2)]
    rng = random.Random(3)
    for epoch in (1.0, 2.0, 3.0):
        for number in range(40):
            value = rng.random()
            assert grouped.decide(number, epoch, value) == apart[number % 2].decide(number, epoch, value)


def test_a_trial_without_the_parameter_is_in_a_group_of_its_own() -> None:
    rule = built(AshaSpec(within=("freezing",)), params_of=lambda number: {"freezing": "x"} if number else {})
    assert rule.decide(1, 1.0, 0.9) == CONTINUE
    assert rule.decide(0, 1.0, 0.1) == CONTINUE
    assert rule.decide(2, 1.0, 0.1) == STOP
