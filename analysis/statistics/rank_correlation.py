"""Spearman's rank correlation of two values of the same trials, with its bootstrap interval over trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.statistics.verdicts import CONFIDENCE, Array, Interval

RESAMPLES = 2000
FEWEST = 5
"""With fewer trials a resample often holds two or three of them, and the interval says nothing."""


@dataclass(frozen=True)
class RankCorrelation:
    """rho: from -1 to 1; None where one side has equal values only.  interval: None below `FEWEST` pairs."""

    pairs: int
    rho: float | None
    interval: Interval | None


def rank_correlation(first: Sequence[float], second: Sequence[float], *, seed: int = 0) -> RankCorrelation:
    """Spearman's rho of paired values, and the percentile interval over resampled pairs (Efron 1979).

    Equal values share their mean rank. Resamples in which one side is constant have no correlation, and are
    left out.
    """
    pairs = np.array([first, second], np.float64)
    count = pairs.shape[1]
    rho = _spearman(pairs[:, None, :])[0] if count > 1 else np.nan
    if np.isnan(rho):
        return RankCorrelation(count, None, None)
    if count < FEWEST:
        return RankCorrelation(count, float(rho), None)
    chosen = np.random.default_rng(seed).integers(count, size=(RESAMPLES, count))
    found = _spearman(pairs[:, chosen])
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(found[~np.isnan(found)], [tail, 1 - tail])
    return RankCorrelation(count, float(rho), Interval(float(low), float(high)))


def _spearman(pairs: Array) -> Array:
    """(2, resamples, trials) -> (resamples,); NaN where one side is constant."""
    from scipy import stats

    ranks = stats.rankdata(pairs, axis=-1)
    a, b = ranks - ranks.mean(axis=-1, keepdims=True)
    spread = np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Array = np.where(spread > 0, (a * b).sum(-1) / spread, np.nan)
    return found
