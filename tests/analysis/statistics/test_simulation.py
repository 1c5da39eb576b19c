"""Statistics on 1,000 simulated ablations each; `benchmarks/statistics_simulation.py` shows more of them."""

from __future__ import annotations

import pytest

from analysis.statistics.paired import ALPHA, POWER
from benchmarks.statistics_simulation import World, heavy, normal, simulate, with_detectable

pytestmark = pytest.mark.slow

BINOMIAL = 0.0113
"""One-sided 95 % bound on the sampling error of a 5 % rate in 1,000 draws."""


@pytest.mark.parametrize("noise", [normal, heavy])
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_intervals_cover_and_families_without_a_difference_report_none(noise, seeds: int) -> None:
    found = simulate(World((0.8, 0.8, 0.8, 0.8), seeds, noise))
    assert 0.93 <= found.means <= 0.97
    assert 0.93 <= found.differences <= 0.97
    assert found.found <= ALPHA + BINOMIAL


def test_all_pairs_are_one_family() -> None:
    assert simulate(World((0.8,) * 4, 5, reference=False)).found <= ALPHA + BINOMIAL


def test_real_differences_are_covered_too() -> None:
    found = simulate(World((0.70, 0.71, 0.74, 0.80), 4))
    assert 0.93 <= found.means <= 0.97
    assert 0.93 <= found.differences <= 0.97


@pytest.mark.parametrize(("levels", "seeds", "reference"), [(2, 3, True), (4, 5, True), (4, 10, False)])
def test_the_detectable_difference_is_found_as_often_as_stated(
    levels: int, seeds: int, reference: bool
) -> None:
    found = simulate(with_detectable(levels, seeds, reference=reference))
    # One real difference among the comparisons to the first level; Holm can only add to its power.
    assert found.each[levels - 2] >= POWER - 2 * (POWER * (1 - POWER) / 1000) ** 0.5
