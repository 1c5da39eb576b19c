"""The corrected t-test over the folds of a cross-validation, on simulated data whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.paired import compare_levels, detectable_difference
from analysis.statistics.verdicts import PairedDifference
from trainables.specs.workload import Direction

FOLDS = 5
OVERLAP = 1 / (FOLDS - 1)


def compared(levels: dict[str, list[float]], overlap: float = OVERLAP) -> PairedDifference:
    given = {name: dict(enumerate(values)) for name, values in levels.items()}
    found = compare_levels(
        given, metric="error", direction=Direction.MINIMIZE, reference="a", overlap=overlap, unit="fold"
    )
    return found.differences[0]


def test_the_formula_of_nadeau_and_bengio() -> None:
    a, b = [0.50, 0.52, 0.49, 0.55, 0.51], [0.53, 0.53, 0.54, 0.57, 0.56]
    found, x = compared({"a": a, "b": b}), np.subtract(b, a)
    error = x.std(ddof=1) * math.sqrt(1 / FOLDS + OVERLAP)
    assert found.p == pytest.approx(2 * stats.t.sf(x.mean() / error, FOLDS - 1))
    assert found.interval is not None
    assert found.interval.width == pytest.approx(2 * stats.t.ppf(0.975, FOLDS - 1) * error)
    plain = detectable_difference(x.std(ddof=1), FOLDS)
    assert found.detectable == pytest.approx(plain * math.sqrt(1 + FOLDS * OVERLAP))
    assert found.p_wilcoxon is None
    assert "5 folds" in compared({"a": a, "b": a}).sentence


def cross_validated(rng: np.random.Generator, images: int = 60) -> dict[str, list[float]]:
    """Squared errors by fold of least squares on two halves of the features, which are equally good."""
    x = rng.normal(size=(images, 12))
    y = x.sum(axis=1) * 0.3 + rng.normal(size=images)
    found: dict[str, list[float]] = {"a": [], "b": []}
    for fold in range(FOLDS):
        held = np.arange(images) % FOLDS == fold
        for name, half in (("a", x[:, :6]), ("b", x[:, 6:])):
            weights = np.linalg.lstsq(half[~held], y[~held], rcond=None)[0]
            found[name].append(float(np.mean((half[held] @ weights - y[held]) ** 2)))
    return found


def test_equal_configurations_are_rarely_told_apart_and_intervals_cover() -> None:
    """A difference of the means is 0 in truth. The plain t-test finds one too often, as folds overlap."""
    rng, runs = np.random.default_rng(3), 300
    wrong = {"plain": 0, "corrected": 0}
    covers = 0
    for _ in range(runs):
        levels = cross_validated(rng)
        for name, overlap in (("plain", 0.0), ("corrected", OVERLAP)):
            found = compared(levels, overlap)
            assert found.p is not None
            wrong[name] += found.p <= 0.05
        assert found.interval is not None
        covers += found.interval.low <= 0 <= found.interval.high
    bound = 0.05 + 1.645 * math.sqrt(0.05 * 0.95 / runs)
    assert wrong["corrected"] / runs <= bound
    assert wrong["plain"] > 1.5 * wrong["corrected"]
    assert covers == runs - wrong["corrected"]
