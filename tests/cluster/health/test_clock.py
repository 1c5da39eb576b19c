from __future__ import annotations

import pytest

from cluster.health.clock import ClockOffset, measure_offset


def test_the_offset_is_that_of_the_shortest_round_trip() -> None:
    """Three trips of 4, 1 and 2 seconds; the other clock is 100 s ahead, and answers at once or late."""
    here = 0.0
    trips = iter([(3.0, 1.0), (0.5, 0.5), (1.5, 0.5)])

    def ask() -> float:
        nonlocal here
        way, back = next(trips)
        here += way
        there = here + 100.0
        here += back
        return there

    found = measure_offset(ask, times=3, now=lambda: here, steady=lambda: here)
    assert found == ClockOffset(pytest.approx(100.0), pytest.approx(0.5))  # type: ignore[arg-type]


def test_what_is_certain_of_an_offset() -> None:
    assert ClockOffset(-7.0, 2.0).least_s == 5.0
    assert ClockOffset(1.0, 2.0).least_s == 0.0
