"""Ratios over tasks with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % bootstrap interval over the random orders."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def mean_interval(values: Sequence[NDArray[np.float64]], *, seed: int = 0) -> Interval:
    """The mean over tasks of the mean over orders. values: (orders,) for each task."""
    draw = np.random.default_rng(seed)
    means = [each[draw.integers(0, len(each), size=(DRAWS, len(each)))].mean(axis=1) for each in values]
    drawn = np.mean(means, axis=0)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(float(np.mean([each.mean() for each in values])), float(low), float(high))


def ratio_interval(ours: Sequence[NDArray[np.float64]], theirs: Sequence[NDArray[np.float64]]) -> Interval:
    """How many times fewer epochs: the geometric mean over tasks and over orders, which are paired."""
    logs = [np.log(there) - np.log(here) for here, there in zip(ours, theirs, strict=True)]
    found = mean_interval(logs)
    return Interval(math.exp(found.value), math.exp(found.low), math.exp(found.high))


def mean_ratio_interval(
    ours: Sequence[NDArray[np.float64]], theirs: Sequence[NDArray[np.float64]], *, seed: int = 0
) -> Interval:
    """How many times fewer epochs in the mean over orders: the geometric mean over tasks.

    Long runs count for more here than in `ratio_interval`: they are what an unlucky sweep costs.
    """
    draw = np.random.default_rng(seed)
    found, drawn = [], []
    for here, there in zip(ours, theirs, strict=True):
        orders = draw.integers(0, len(here), size=(DRAWS, len(here)))  # paired
        found.append(math.log(there.mean() / here.mean()))
        drawn.append(np.log(there[orders].mean(axis=1) / here[orders].mean(axis=1)))
    low, high = np.quantile(np.mean(drawn, axis=0), [0.025, 0.975])
    return Interval(math.exp(np.mean(found)), math.exp(low), math.exp(high))
