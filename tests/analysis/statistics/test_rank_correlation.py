"""Spearman's correlation equals scipy's, and its interval covers the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.rank_correlation import FEWEST, rank_correlation


def test_rho_is_scipys_with_ties_too() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, y = rng.integers(5, size=(2, 9)).astype(float)
        found = rank_correlation(x.tolist(), y.tolist())
        assert found.rho == pytest.approx(float(stats.spearmanr(x, y).statistic), abs=1e-12)


def test_little_is_said_of_few_trials() -> None:
    assert rank_correlation([], []).rho is None
    assert rank_correlation([1.0], [2.0]).rho is None
    assert rank_correlation([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]).rho is None
    few = rank_correlation(list(range(FEWEST - 1)), list(range(FEWEST - 1)))
    assert (few.rho, few.interval) == (pytest.approx(1.0), None)


def test_the_interval_covers_the_true_correlation() -> None:
    """Normal pairs with r = 0.6, whose rank correlation is 6/pi * asin(r/2); 30 trials each."""
    truth = 6 / np.pi * np.arcsin(0.3)
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(60):
        x, y = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], size=30).T
        interval = rank_correlation(x.tolist(), y.tolist()).interval
        assert interval is not None
        held += interval.low <= truth <= interval.high
    assert held >= 50
