"""PASHA: trials stop at the ceiling, which rises while the order of the trials changes."""

from __future__ import annotations

import pytest

from trainables.specs.workload import Direction
from tuning.experiment.sections.scheduler import PashaSpec
from tuning.scheduling.pasha import build_pasha, is_stable
from tuning.scheduling.rule import CONTINUE, STOP, StoppingRule


def pasha() -> StoppingRule:
    rule = build_pasha(PashaSpec(), Direction.MAXIMIZE, max_epochs=27)
    assert rule is not None
    return rule


def run(rule: StoppingRule, number: int, values: list[float]) -> int:
    """The epoch at which a trial is stopped; one more than it reports if it is not."""
    for epoch, value in enumerate(values, start=1):
        if rule.decide(number, float(epoch), value) == STOP:
            return epoch
    return len(values) + 1


def test_while_the_order_is_stable_no_trial_goes_beyond_the_second_rung() -> None:
    rule = pasha()
    assert [run(rule, n, [n + e / 100 for e in range(26)]) for n in range(20)] == [3] * 20


def test_a_changed_order_raises_the_ceiling_by_one_rung() -> None:
    rule = pasha()
    assert run(rule, 0, [0.1, 0.5, 0.5]) == 3
    # Better at epoch 1 and worse at epoch 3: the ceiling is at epoch 9 from here on.
    assert run(rule, 1, [0.2, 0.2, 0.4]) == 3
    assert run(rule, 2, [0.3, 0.6, 0.7, *[0.8] * 20]) == 9


def test_an_arrival_that_raises_the_ceiling_goes_on_if_it_is_among_the_best() -> None:
    rule = pasha()
    assert run(rule, 0, [0.3, 0.3, 0.3]) == 3
    assert run(rule, 1, [0.4, 0.2, 0.2]) == 3  # raises it, and is the worse one
    again = pasha()
    assert [again.decide(n, 1.0, v) for n, v in ((0, 0.3), (1, 0.4), (2, 0.2))] == [CONTINUE, CONTINUE, STOP]
    assert again.decide(0, 2.0, 0.3) == STOP


@pytest.mark.parametrize(
    ("here", "below", "noise", "stable"),
    [
        ([], [], 0.0, True),
        ([1.0], [0.0], 0.0, True),
        ([1.0, 2.0, 3.0], [0.1, 0.2, 0.3], 0.0, True),
        ([1.0, 2.0, 3.0], [0.2, 0.1, 0.3], 0.0, False),
        ([1.0, 1.1, 3.0], [0.2, 0.1, 0.3], 0.2, True),
        ([1.0, 1.1, 3.0], [0.3, 0.1, 0.2], 0.2, False),
        ([1.0, 1.0], [0.1, 0.2], 0.0, True),
    ],
)
def test_orders_are_equal_up_to_noise(
    here: list[float], below: list[float], noise: float, stable: bool
) -> None:
    assert is_stable(here, below, noise) is stable


def test_trials_that_cross_back_and_forth_show_the_noise() -> None:
    """The same swap that raised the ceiling above does not, where curves cross twice by as much."""
    rule = build_pasha(PashaSpec(grace_epochs=3, reduction_factor=3.0), Direction.MAXIMIZE, max_epochs=81)
    assert rule is not None
    assert run(rule, 0, [0.10, 0.30, 0.10, 0.30, 0.10, 0.30, 0.10, 0.30, 0.30]) == 9
    assert run(rule, 1, [0.20, 0.20, 0.20, 0.20, 0.20, 0.20, 0.20, 0.20, 0.20]) == 9
    assert run(rule, 2, [0.5] * 26) == 9  # the ceiling is where it was


def test_no_rung_below_the_budget_means_no_rule() -> None:
    assert build_pasha(PashaSpec(), Direction.MAXIMIZE, max_epochs=1) is None
