"""ASHA with ordered rungs makes the same decisions as Ray's ASHA."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from ray.tune.schedulers import AsyncHyperBandScheduler

from trainables.specs.workload import Direction
from tuning.experiment.sections.scheduler import AshaSpec
from tuning.scheduling.asha import OrderedAsha, build_asha, percentile
from tuning.scheduling.rule import CONTINUE, STOP

ASHA = AshaSpec(grace_epochs=1.0, reduction_factor=3.0)


def test_it_has_one_bracket_and_rungs_in_epochs() -> None:
    rule = build_asha(ASHA, Direction.MAXIMIZE, max_epochs=27)
    assert rule is not None
    (bracket,) = rule.scheduler._brackets
    assert [milestone for milestone, _ in bracket._rungs] == [27, 9, 3, 1]


def test_a_rung_at_a_fraction_of_an_epoch_sees_the_report_there() -> None:
    spec = AshaSpec(grace_epochs=0.2, reduction_factor=3.0)
    rule = build_asha(spec, Direction.MAXIMIZE, max_epochs=5)
    assert rule is not None
    assert 0.2 * 3 > 3 / 5  # so the rule adds a tiny amount
    for number in range(2):
        rule.decide(number, 1 / 5, 0.5)
    assert rule.decide(0, 3 / 5, 0.9) == CONTINUE
    assert rule.decide(1, 3 / 5, 0.5) == STOP


@pytest.mark.parametrize("max_epochs", [0, 0.5, 1])
def test_no_rung_below_the_budget_means_no_rule(max_epochs: float) -> None:
    assert build_asha(ASHA, Direction.MAXIMIZE, max_epochs=max_epochs) is None


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


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize(("grace", "factor"), [(1.0, 3.0), (0.6, 2.0), (2.0, 4.5)])
def test_every_decision_is_rays(mode: str, grace: float, factor: float) -> None:
    limits: dict[str, Any] = {"grace_period": grace, "max_t": 27, "reduction_factor": factor}
    common: dict[str, Any] = {"time_attr": "epoch", "metric": "objective", "mode": mode}
    own, rays = OrderedAsha(**limits, **common), AsyncHyperBandScheduler(brackets=1, **limits, **common)
    rng = random.Random(1)
    going = dict.fromkeys(range(300), 0.0)
    stopped = 0
    for number in going:
        for scheduler in (own, rays):
            scheduler.on_trial_add(None, Entrant(number))
    while going:
        number = rng.choice(list(going))
        going[number] += 0.6
        # Rounded, so that some values are equal.
        result = {"epoch": going[number] + 1e-9, "objective": round(rng.random(), 2)}
        ends = going[number] >= 26.9
        if ends:
            for scheduler in (own, rays):
                scheduler.on_trial_complete(None, Entrant(number), result)
        else:
            decided = {s.on_trial_result(None, Entrant(number), result) for s in (own, rays)}
            assert len(decided) == 1
            ends = decided == {"STOP"}
            stopped += ends
        if ends:
            del going[number]
    assert 50 < stopped < 300
    assert own.debug_string() == rays.debug_string()
