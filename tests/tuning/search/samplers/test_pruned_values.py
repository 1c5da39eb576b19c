"""The value that samplers are told of a trial that was stopped early."""

from __future__ import annotations

import pytest

from tuning.search.samplers.pruned_values import Curve, as_curve, estimate_final

SLOW: Curve = [(1000, 0.2), (2000, 0.4), (3000, 0.8)]
FAST: Curve = [(1000, 0.5), (2000, 0.6), (3000, 0.6)]
LATE: Curve = [(2000, 0.1), (3000, 0.9)]


def estimate(stopped: Curve, *finished: Curve, maximize: bool = True) -> float | None:
    return estimate_final(stopped, [(curve, curve[-1][1]) for curve in finished], maximize=maximize, known={})


def test_it_is_the_last_value_plus_the_gain_of_those_that_went_on() -> None:
    assert estimate([(1000, 0.1)], SLOW, FAST) == pytest.approx(0.1 + (0.6 + 0.1) / 2)
    assert estimate([(1000, 0.0), (2000, 0.3)], SLOW, FAST) == pytest.approx(0.3 + 0.2)


def test_a_trial_that_first_reported_later_does_not_count() -> None:
    assert estimate([(1000, 0.1)], SLOW, LATE) == pytest.approx(0.7)


def test_it_is_no_better_than_the_middle_of_those_that_went_on() -> None:
    assert estimate([(1000, 0.6)], SLOW, FAST) == pytest.approx(0.7)
    losses: list[Curve] = [[(1000, 5.0), (2000, 1.0)], [(1000, 3.0), (2000, 2.0)]]
    assert estimate([(1000, 4.0)], *losses, maximize=False) == pytest.approx(1.5)
    assert estimate([(1000, 6.0)], *losses, maximize=False) == pytest.approx(3.5)


def test_without_others_it_is_the_last_value_and_without_reports_nothing() -> None:
    assert estimate([(1000, 0.1), (2000, 0.3)]) == 0.3
    assert estimate([(1000, 0.3)], LATE) == 0.3
    assert estimate([], SLOW) is None


def test_a_curve_is_in_the_order_of_its_steps() -> None:
    assert as_curve({2000: 0.4, 500: 0.1}) == [(500, 0.1), (2000, 0.4)]
