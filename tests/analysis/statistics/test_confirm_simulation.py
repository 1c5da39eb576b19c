"""The whole procedure of `confirm` on simulated sweeps, as in `benchmarks/confirm_simulation.py`."""

from __future__ import annotations

import pytest

from benchmarks.confirm_simulation import LEVELS, simulate

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("levels", [LEVELS, (0.75,)], ids=["equal ones among them", "all equal"])
def test_intervals_cover_and_false_winners_are_rare(levels: tuple[float, ...]) -> None:
    found = simulate(2000, levels=levels)
    assert 0.93 <= found.covers <= 0.97
    assert found.wrong <= 0.05 + 0.008  # the one-sided 95 % bound on the sampling error in 2,000 draws
    assert found.false_wins <= 0.05
    assert found.excess > 0.01, "the search's own value is too good"
    assert abs(found.repeated) < 0.001
    assert found.loss <= found.first_loss
