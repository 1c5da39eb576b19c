"""What repeated runs show: means with intervals, paired differences, and what could not have been seen.

Plain values in and out: for each level of a factor the figure of each seed. Runs that share a seed are
pairs. No ray, no torch.

* Interval of a mean: Student's t. At 3 to 10 values the bootstraps miss the 95 % that they promise
  (`benchmarks/statistics_simulation.py`). Over test images, of which there are many,
  `analysis.statistics.bootstrap` resamples.
* Differences: the paired t-test and its interval, p-values adjusted by Holm over the whole family; beside
  it Wilcoxon's signed-rank test from `WILCOXON_FROM` seeds on (below, it cannot fall under 0.05).
* Effect size: the mean difference in standard deviations of the differences, with Hedges' correction.
* Smallest detectable difference: with these seeds and this spread, at the level that Holm asks of the
  first of the family (alpha / comparisons), found with probability `POWER`.
"""

from __future__ import annotations

import gc
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.statistics.verdicts import (
    ALPHA,
    CONFIDENCE,
    FLAT,
    POWER,
    Array,
    Comparison,
    Difference,
    Interval,
    Level,
    Verdict,
    comparison_json,
    flat,
    p_value,
    rounded,
)
from trainables.errors import AdaptertuneError
from trainables.specs.workload import Direction

__all__ = [
    "ALPHA",
    "CONFIDENCE",
    "POWER",
    "Array",
    "Comparison",
    "Difference",
    "Interval",
    "Level",
    "Seeds",
    "StatisticsError",
    "Verdict",
    "compare",
    "comparison_json",
    "detectable",
    "holm",
    "mean_interval",
    "p_value",
    "rounded",
]

WILCOXON_FROM = 6

Seeds = Mapping[int, float | None]
"""A figure by seed; None and NaN stand for a run that has none (failed, diverged, not finished)."""


class StatisticsError(AdaptertuneError):
    """A comparison that cannot be set up: no level at all, or a reference that is none of them."""


def compare(
    levels: Mapping[str, Seeds],
    *,
    metric: str,
    direction: Direction,
    reference: str | None = None,
    alpha: float = ALPHA,
) -> Comparison:
    """Levels of one factor, each with a figure by seed; at least one.

    reference: the level that the others are compared to; without it every pair is compared, which
    costs power. Raises StatisticsError.
    """
    if not levels:
        raise StatisticsError("nothing to compare: there is no level; give at least two")
    if reference is not None and reference not in levels:
        raise StatisticsError(f"reference '{reference}' is not a level; there are {', '.join(levels)}")
    found = tuple(_level(name, seeds) for name, seeds in levels.items())
    if reference is None:
        pairs = [(b, a) for a, b in itertools.combinations(found, 2)]
    else:
        base = next(level for level in found if level.name == reference)
        pairs = [(level, base) for level in found if level is not base]
    drafts = [_paired(level, base) for level, base in pairs]
    return Comparison(metric, direction, reference, found, _judged(drafts, direction, alpha), alpha)


def mean_interval(values: Sequence[float]) -> Interval | None:
    """The interval of the mean of a few runs; None below two, or where they do not differ at all."""
    x = np.asarray(values, np.float64)
    return None if x.size < 2 or flat(x) else _student(x)


def detectable(sd: float, n: int, *, comparisons: int = 1, alpha: float = ALPHA) -> float:
    """Smallest true mean difference that `n` ≥ 2 pairs with spread `sd` find with probability `POWER`.

    By the paired t-test at alpha / comparisons: that of the noncentral t (statsmodels' `solve_power`
    does not converge at few pairs).
    """
    from scipy import special, stats

    critical = stats.t.isf(alpha / comparisons / 2, n - 1)
    return float(special.nctdtrinc(n - 1, 1 - POWER, critical)) * sd / math.sqrt(n)


def holm(p: Sequence[float]) -> list[float]:
    """p-values adjusted over their family, in the order given."""
    if not p:
        return []
    from statsmodels.stats.multitest import multipletests

    # It collects garbage at every call, a tenth of a second or more where torch or Ray are loaded.
    ours = gc.get_freeze_count() == 0
    if ours:
        gc.freeze()
    try:
        return [float(value) for value in multipletests(list(p), method="holm")[1]]
    finally:
        if ours:
            gc.unfreeze()


# --- levels -----------------------------------------------------------------------------------


def _level(name: str, seeds: Seeds) -> Level:
    values = {seed: float(v) for seed, v in seeds.items() if v is not None and math.isfinite(v)}
    missing = tuple(seed for seed in seeds if seed not in values)
    x = np.array(list(values.values()))
    return Level(
        name,
        values,
        missing,
        float(x.mean()) if x.size else None,
        float(x.std(ddof=1)) if x.size > 1 else None,
        mean_interval(x.tolist()),
    )


def _student(x: Array) -> Interval:
    from scipy import stats

    half = float(stats.t.isf((1 - CONFIDENCE) / 2, x.size - 1)) * float(x.std(ddof=1)) / math.sqrt(x.size)
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


def _paired(level: Level, base: Level) -> _Draft:
    from scipy import stats

    seeds = tuple(seed for seed in level.values if seed in base.values)
    a, b = (np.array([side.values[seed] for seed in seeds]) for side in (level, base))
    x = a - b
    if x.size < 2:
        why = "no seed in common" if not seeds else "one seed in common, so no spread is known"
        return _Draft(level.name, base.name, seeds, x, None, f"{why}; repeat over more seeds")
    if flat(np.concatenate([a, b])) or bool((np.abs(x) <= FLAT * np.maximum(1e-3, np.abs(a))).all()):
        return _Draft(level.name, base.name, seeds, np.zeros_like(x), 1.0)
    # Rounding in a - b is of the size of a and b, not of x.
    if np.ptp(x) <= FLAT * max(1e-3, float(np.abs(a).max()), float(np.abs(b).max())):
        why = f"the same difference in all {x.size} seeds leaves no spread to test against"
        return _Draft(level.name, base.name, seeds, x, None, f"{why}; does the seed vary the training?")
    return _Draft(level.name, base.name, seeds, x, float(stats.ttest_1samp(x, 0.0).pvalue))


def _judged(drafts: Sequence[_Draft], direction: Direction, alpha: float) -> tuple[Difference, ...]:
    tested = [draft.p for draft in drafts if draft.p is not None]
    adjusted = iter(holm(tested))
    return tuple(
        _difference(draft, None if draft.p is None else next(adjusted), len(tested), direction, alpha)
        for draft in drafts
    )


def _difference(
    draft: _Draft, p_holm: float | None, family: int, direction: Direction, alpha: float
) -> Difference:
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
    return Difference(
        draft.level,
        draft.reference,
        draft.seeds,
        mean,
        spread,
        None if spread is None else _student(x),
        draft.p,
        p_holm,
        None if spread is None else _wilcoxon(x),
        None if spread is None or mean is None or x.size < 3 else mean / spread * _hedges(x.size - 1),
        None if spread is None else detectable(spread, x.size, comparisons=family, alpha=alpha),
        verdict,
        draft.why,
    )


def _wilcoxon(x: Array) -> float | None:
    """Zeros are left out, as Wilcoxon had it; None where too few are left to reach 0.05."""
    from scipy import stats

    moved = x[x != 0]
    return float(stats.wilcoxon(moved).pvalue) if moved.size >= WILCOXON_FROM else None


def _hedges(df: int) -> float:
    """Takes the bias out of a standardised mean (Hedges 1981, equation 6e): 0.56 at 2 degrees, 0.80 at 4."""
    return math.exp(math.lgamma(df / 2) - math.lgamma((df - 1) / 2)) / math.sqrt(df / 2)
