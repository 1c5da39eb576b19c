"""Statistics of repeated runs: means with confidence intervals, paired differences, detectable differences.

Plain values in and out: for each level of a factor, the metric of each seed. Runs with the same seed are
pairs.

* Interval of a mean: Student's t. With 3 to 10 values, bootstrap intervals cover less than their nominal
  95 % (`benchmarks/statistics_simulation.py`). Test images are many, so `analysis.statistics.bootstrap`
  resamples them.
* Differences: the paired t-test and its interval, p-values adjusted by Holm over the whole family. From
  `WILCOXON_FROM` pairs on, Wilcoxon's signed-rank test as well (with fewer, p cannot fall below 0.05).
* Effect size: the mean difference in standard deviations of the differences, with Hedges' correction.
* Folds of a cross-validation share training images, so their values are not independent, and the variance of
  the mean is not s²/k. `overlap` corrects it to s²·(1/k + overlap) with overlap = test images / training
  images, 1/(k − 1) for k folds, with k − 1 degrees of freedom (Nadeau and Bengio 2003, "Inference for the
  generalization error", section 3; for folds Bouckaert and Frank 2004). There is no Wilcoxon test then.
* Minimum detectable difference: with these seeds and this variance, at the level of Holm's first step
  (alpha / comparisons), detected with power `POWER`.
"""

from __future__ import annotations

import gc
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from analysis.statistics.verdicts import (
    ALPHA,
    CONFIDENCE,
    FLAT,
    POWER,
    Array,
    Comparison,
    Interval,
    LevelSummary,
    PairedDifference,
    Verdict,
    comparison_json,
    format_p_value,
    is_constant,
    rounded,
)
from trainables.errors import AdaptertuneError
from trainables.specs.workload import Direction, MetricName

__all__ = [
    "ALPHA",
    "CONFIDENCE",
    "POWER",
    "Array",
    "Comparison",
    "Interval",
    "LevelSummary",
    "PairedDifference",
    "Seeds",
    "StatisticsError",
    "Verdict",
    "compare_levels",
    "comparison_json",
    "detectable_difference",
    "format_p_value",
    "holm_adjusted",
    "mean_interval",
    "rounded",
]

WILCOXON_FROM = 6

Seeds = Mapping[int, float | None]
"""A metric by seed; None and NaN mean that the run has no result (failed, diverged, not finished)."""


class StatisticsError(AdaptertuneError):
    """A comparison that cannot be made: no level, an unknown reference, or models that do not match."""


def compare_levels(
    levels: Mapping[str, Seeds],
    *,
    metric: str,
    direction: Direction,
    reference: str | None = None,
    alpha: float = ALPHA,
    overlap: float = 0.0,
    unit: str = "seed",
) -> Comparison:
    """Compare the levels of one factor, each with a metric by seed; at least one level.

    reference: the level that the others are compared with; without it all pairs are compared, which
    costs power.  overlap: of runs that are folds, see above.  unit: what pairs runs, in words.
    Raises StatisticsError.
    """
    if not levels:
        raise StatisticsError("nothing to compare: no level is given; give at least two")
    if reference is not None and reference not in levels:
        raise StatisticsError(f"reference '{reference}' is not a level; the levels are {', '.join(levels)}")
    found = tuple(_level(name, seeds, overlap) for name, seeds in levels.items())
    if reference is None:
        pairs = [(b, a) for a, b in itertools.combinations(found, 2)]
    else:
        base = next(level for level in found if level.name == reference)
        pairs = [(level, base) for level in found if level is not base]
    drafts = [_paired(level, base, overlap, unit) for level, base in pairs]
    tested = _tested(drafts, direction, alpha)
    if _lies_between_0_and_1(metric, found):
        tested = tuple(_within_range(each, base) for each, (_, base) in zip(tested, pairs, strict=True))
    return Comparison(metric, direction, reference, found, tested, alpha, unit)


def mean_interval(values: Sequence[float], overlap: float = 0.0) -> Interval | None:
    """The confidence interval of the mean of a few runs; None below two runs or without variance."""
    x = np.asarray(values, np.float64)
    return None if x.size < 2 or is_constant(x) else _student(x, overlap)


def detectable_difference(
    sd: float, n: int, *, comparisons: int = 1, alpha: float = ALPHA, overlap: float = 0.0
) -> float:
    """The minimum mean difference that `n` ≥ 2 pairs with standard deviation `sd` detect with power `POWER`.

    By the paired t-test at alpha / comparisons, from the noncentral t distribution (statsmodels'
    `solve_power` does not converge for few pairs).
    """
    from scipy import special, stats

    critical = stats.t.isf(alpha / comparisons / 2, n - 1)
    return float(special.nctdtrinc(n - 1, 1 - POWER, critical)) * _standard_error(sd, n, overlap)


def holm_adjusted(p: Sequence[float]) -> list[float]:
    """p-values adjusted over their family by Holm's method, in the order given."""
    if not p:
        return []
    from unittest.mock import patch

    from statsmodels.stats.multitest import multipletests

    # multipletests collects garbage at every call, which takes 0.1 s or more with torch or Ray loaded.
    with patch.object(gc, "collect"):
        return [float(value) for value in multipletests(list(p), method="holm")[1]]


# --- levels -----------------------------------------------------------------------------------


def _level(name: str, seeds: Seeds, overlap: float) -> LevelSummary:
    values = {seed: float(v) for seed, v in seeds.items() if v is not None and math.isfinite(v)}
    missing = tuple(seed for seed in seeds if seed not in values)
    x = np.array(list(values.values()))
    return LevelSummary(
        name,
        values,
        missing,
        float(x.mean()) if x.size else None,
        float(x.std(ddof=1)) if x.size > 1 else None,
        mean_interval(x.tolist(), overlap),
    )


def _standard_error(sd: float, n: int, overlap: float) -> float:
    """Of the mean of `n` values, corrected for the training images that they share."""
    return sd * math.sqrt(1 / n + overlap)


def _student(x: Array, overlap: float) -> Interval:
    from scipy import stats

    error = _standard_error(float(x.std(ddof=1)), x.size, overlap)
    half = float(stats.t.isf((1 - CONFIDENCE) / 2, x.size - 1)) * error
    return Interval(float(x.mean()) - half, float(x.mean()) + half)


# --- differences ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Draft:
    level: str
    reference: str
    seeds: tuple[int, ...]
    x: Array
    """Differences, by seed."""
    p: float | None
    why: str = ""
    overlap: float = 0.0
    unit: str = "seed"


def _paired(level: LevelSummary, base: LevelSummary, overlap: float, unit: str) -> _Draft:
    draft = partial(_Draft, level.name, base.name, overlap=overlap, unit=unit)

    seeds = tuple(seed for seed in level.values if seed in base.values)
    a, b = (np.array([side.values[seed] for seed in seeds]) for side in (level, base))
    x = a - b
    if x.size < 2:
        one = f"only one {unit} in common, so the variance is unknown"
        why = one if seeds else f"no {unit} in common"
        return draft(seeds, x, None, f"{why}; repeat over more {unit}s")
    if is_constant(np.concatenate([a, b])) or bool((np.abs(x) <= FLAT * np.maximum(1e-3, np.abs(a))).all()):
        return draft(seeds, np.zeros_like(x), 1.0)
    # The rounding error of a - b scales with a and b, not with x.
    if np.ptp(x) <= FLAT * max(1e-3, float(np.abs(a).max()), float(np.abs(b).max())):
        why = f"the difference is the same for all {x.size} {unit}s, so there is no variance to test against"
        return draft(seeds, x, None, f"{why}; does the {unit} affect training?")
    return draft(seeds, x, _paired_t_test(x, overlap))


def _paired_t_test(x: Array, overlap: float) -> float:
    """The two-sided p-value that the mean difference is 0."""
    from scipy import stats

    if not overlap:
        return float(stats.ttest_1samp(x, 0.0).pvalue)
    statistic = float(x.mean()) / _standard_error(float(x.std(ddof=1)), x.size, overlap)
    return float(2 * stats.t.sf(abs(statistic), x.size - 1))


def _tested(drafts: Sequence[_Draft], direction: Direction, alpha: float) -> tuple[PairedDifference, ...]:
    tested = [draft.p for draft in drafts if draft.p is not None]
    adjusted = iter(holm_adjusted(tested))
    return tuple(
        _difference(draft, None if draft.p is None else next(adjusted), len(tested), direction, alpha)
        for draft in drafts
    )


def _difference(
    draft: _Draft, p_holm: float | None, family: int, direction: Direction, alpha: float
) -> PairedDifference:
    x = draft.x
    mean = float(x.mean()) if x.size else None
    same = draft.p is not None and not x.any()
    spread = float(x.std(ddof=1)) if draft.p is not None and not same else None
    if p_holm is None or mean is None:
        verdict = Verdict.UNTESTED
    elif same:
        verdict = Verdict.IDENTICAL
    elif p_holm > alpha:
        verdict = Verdict.NOT_SHOWN
    else:
        verdict = Verdict.BETTER if direction.better(mean, 0.0) else Verdict.WORSE
    return PairedDifference(
        draft.level,
        draft.reference,
        draft.seeds,
        mean,
        spread,
        None if spread is None else _student(x, draft.overlap),
        draft.p,
        p_holm,
        None if spread is None or draft.overlap else _wilcoxon(x),
        None if spread is None or mean is None or x.size < 3 else mean / spread * _hedges(x.size - 1),
        None
        if spread is None
        else detectable_difference(spread, x.size, comparisons=family, alpha=alpha, overlap=draft.overlap),
        verdict,
        draft.why,
        unit=draft.unit,
    )


def _lies_between_0_and_1(metric: str, levels: Sequence[LevelSummary]) -> bool:
    seen = [value for level in levels for value in level.values.values()]
    return MetricName.of(metric).is_share and all(0 <= value <= 1 for value in seen)


def _within_range(difference: PairedDifference, base: LevelSummary) -> PairedDifference:
    """Without a detectable difference that the metric, from 0 to 1, cannot have from the reference's mean."""
    found, mean = difference.detectable, base.mean
    if found is None or mean is None or found <= max(mean, 1 - mean):
        return difference
    return replace(difference, detectable=None, out_of_range=True)


def _wilcoxon(x: Array) -> float | None:
    """The p-value without zero differences, as Wilcoxon defined it; None if too few remain to reach 0.05."""
    from scipy import stats

    moved = x[x != 0]
    return float(stats.wilcoxon(moved).pvalue) if moved.size >= WILCOXON_FROM else None


def _hedges(df: int) -> float:
    """Bias correction of a standardised mean (Hedges 1981, equation 6e): 0.56 at df = 2, 0.80 at df = 4."""
    return math.exp(math.lgamma(df / 2) - math.lgamma((df - 1) / 2)) / math.sqrt(df / 2)
