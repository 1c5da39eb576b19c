"""Statistics of repeated runs, against SciPy and statsmodels, and on edge cases."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from analysis.statistics.paired import (
    POWER,
    Comparison,
    StatisticsError,
    Verdict,
    compare_levels,
    comparison_json,
    detectable_difference,
    mean_interval,
    rounded,
)
from trainables.specs.workload import Direction

UP, DOWN = Direction.MAXIMIZE, Direction.MINIMIZE
A = {0: 0.70, 1: 0.72, 2: 0.69, 3: 0.74, 4: 0.71}
BETTER = {0: 0.752, 1: 0.768, 2: 0.741, 3: 0.791, 4: 0.757}
ALIKE = {0: 0.71, 1: 0.715, 2: 0.70, 3: 0.73, 4: 0.712}


def of(**levels: dict[int, float | None]) -> Comparison:
    return compare_levels(levels, metric="dice", direction=UP, reference=next(iter(levels)))


def test_the_values_are_those_of_scipy_by_seed() -> None:
    found = of(a=A, b=BETTER)
    (d,) = found.differences
    x = np.array([BETTER[seed] - A[seed] for seed in A])
    assert d.mean == pytest.approx(x.mean())
    assert d.p == pytest.approx(stats.ttest_rel(list(BETTER.values()), list(A.values())).pvalue)
    low, high = stats.ttest_1samp(x, 0).confidence_interval()
    assert d.interval is not None
    assert (d.interval.low, d.interval.high) == pytest.approx((low, high))
    # Hedges' correction at 4 degrees of freedom is 0.798.
    assert d.effect == pytest.approx(x.mean() / x.std(ddof=1) * 0.7979, rel=1e-3)
    assert d.verdict is Verdict.BETTER
    assert d.sentence.startswith(
        "b is better than a: mean difference +0.0498 (95 % CI +0.0471 to +0.0525; Holm-adjusted p < 0.001"
    )
    assert found.conclusion == "dice: 1 of 1 comparison shows a significant difference."


def test_no_significant_difference_comes_with_the_minimum_detectable_difference() -> None:
    (d,) = of(a=A, b=ALIKE).differences
    assert d.verdict is Verdict.NOT_SHOWN
    assert d.sentence.startswith("b and a: no significant difference: mean difference +0.001 (95 % CI ")
    assert d.detectable is not None
    smallest = rounded(d.detectable, d.detectable)
    assert d.sentence.endswith(f"difference with these seeds: {smallest} (80 % power)")
    assert of(a=A, b=ALIKE).conclusion == "dice: no significant difference in 1 comparison."


def test_the_direction_decides_what_is_better() -> None:
    (d,) = compare_levels({"a": A, "b": BETTER}, metric="loss", direction=DOWN, reference="a").differences
    assert d.verdict is Verdict.WORSE
    assert d.sentence.startswith("b is worse than a: mean difference +0.0498")


def test_order_of_seeds_makes_no_difference_and_pairs_are_by_seed() -> None:
    backwards = dict(reversed(BETTER.items()))
    assert of(a=A, b=backwards).differences[0].p == pytest.approx(of(a=A, b=BETTER).differences[0].p)
    shifted = dict(zip(A, [*list(BETTER.values())[1:], BETTER[0]], strict=True))
    assert of(a=A, b=shifted).differences[0].p > 10 * of(a=A, b=BETTER).differences[0].p


def test_holm_is_over_the_family() -> None:
    found = of(a=A, b=BETTER, c=ALIKE, d={seed: v + 0.01 * (-1) ** seed for seed, v in A.items()})
    raw = [d.p for d in found.differences]
    adjusted = [d.p_holm for d in found.differences]
    order = np.argsort(raw)
    expected = np.maximum.accumulate(np.array(raw)[order] * [3, 2, 1])
    assert np.array(adjusted)[order] == pytest.approx(np.minimum(expected, 1))
    assert found.conclusion == "dice: 1 of 3 comparisons shows a significant difference."


def test_without_a_reference_all_pairs_are_compared() -> None:
    found = compare_levels({"a": A, "b": BETTER, "c": ALIKE}, metric="dice", direction=UP)
    assert [(d.level, d.reference) for d in found.differences] == [("b", "a"), ("c", "a"), ("c", "b")]


def test_one_seed_is_not_tested() -> None:
    found = of(a={0: 0.7}, b={0: 0.8})
    (d,) = found.differences
    assert (d.verdict, d.p, d.interval) == (Verdict.UNTESTED, None, None)
    assert d.mean == pytest.approx(0.1)
    assert found.conclusion == (
        "dice: no comparison could be tested: only one seed in common, so the variance is unknown;"
        " repeat over more seeds."
    )
    assert found.levels[0].interval is None


def test_seeds_that_do_not_meet_are_not_tested() -> None:
    (d,) = of(a={0: 0.7, 1: 0.71}, b={2: 0.8, 3: 0.9}).differences
    assert d.verdict is Verdict.UNTESTED
    assert d.sentence == "b and a: not tested: no seed in common; repeat over more seeds"


@pytest.mark.parametrize("missing", [None, math.nan, math.inf])
def test_missing_runs_are_left_out_and_named(missing: float | None) -> None:
    found = of(a=A, b=BETTER | {1: missing, 3: missing})
    (d,) = found.differences
    assert d.seeds == (0, 2, 4)
    assert found.levels[1].missing == (1, 3)
    assert found.levels[1].n == 3
    assert found.notes == (
        "b: no result for seeds 1, 3; the other seeds alone may make this level look better than it is.",
    )


def test_a_level_without_any_result_is_listed_and_not_tested() -> None:
    found = of(a=A, b=dict.fromkeys(A, math.nan))
    assert found.levels[1].mean is None
    assert found.differences[0].verdict is Verdict.UNTESTED
    json.dumps(comparison_json(found), allow_nan=False)


def test_ties_in_all_seeds_are_no_difference() -> None:
    found = of(a=A, b=dict(A))
    (d,) = found.differences
    assert (d.verdict, d.p_holm) == (Verdict.IDENTICAL, 1.0)
    assert d.sentence == "b and a: no difference: identical results for all 5 seeds"
    assert found.conclusion == "dice: no significant difference in 1 comparison."


def test_one_difference_in_all_seeds_is_not_tested() -> None:
    found = of(a=A, b={seed: value + 0.1 for seed, value in A.items()})
    (d,) = found.differences
    assert d.verdict is Verdict.UNTESTED
    assert "the difference is the same for all 5 seeds, so there is no variance" in d.sentence
    assert found.conclusion.endswith("does the seed affect training?")


def test_a_seed_that_changes_nothing_is_pointed_out() -> None:
    found = of(a=A, b=dict.fromkeys(A, 0.7))
    assert found.levels[1].interval is None
    assert (
        "b: the same value for all 5 seeds, so there is no confidence interval;"
        " does the seed affect training?" in found.notes
    )
    assert found.differences[0].p is not None


def test_all_zero_everywhere_is_no_difference() -> None:
    zero = dict.fromkeys(A, 0.0)
    assert of(a=zero, b=zero).differences[0].verdict is Verdict.IDENTICAL


def test_some_ties_are_tested() -> None:
    (d,) = of(a=A, b=A | {0: 0.71}).differences
    assert d.verdict is Verdict.NOT_SHOWN
    assert 0 < d.p < 1


def test_a_single_level_has_nothing_to_compare() -> None:
    found = of(a=A)
    assert found.differences == ()
    assert found.conclusion == "dice: only one level (a), so there is nothing to compare."
    assert found.levels[0].interval is not None


def test_no_level_and_an_unknown_reference_are_refused() -> None:
    with pytest.raises(StatisticsError, match="no level is given"):
        compare_levels({}, metric="dice", direction=UP)
    with pytest.raises(StatisticsError, match="reference 'c' is not a level; the levels are a, b"):
        compare_levels({"a": A, "b": ALIKE}, metric="dice", direction=UP, reference="c")


def test_two_seeds_are_tested_without_an_effect_size() -> None:
    (d,) = of(a={0: 0.7, 1: 0.71}, b={0: 0.8, 1: 0.82}).differences
    assert d.effect is None
    assert d.interval is not None
    assert d.detectable is not None
    assert d.detectable > 11 * d.sd


@pytest.mark.parametrize("metric", ["dice", "iou/cat", "map_50@night", "dice_worst"])
def test_no_difference_outside_the_range_of_the_metric_is_called_detectable(metric: str) -> None:
    wild = {"a": {0: 0.1, 1: 0.9, 2: 0.6}, "b": {0: 0.8, 1: 0.2, 2: 0.5}}
    (d,) = compare_levels(wild, metric=metric, direction=UP, reference="a").differences
    assert d.sd is not None
    assert detectable_difference(d.sd, 3) > 1
    assert (d.detectable, d.out_of_range, d.detects) == (None, True, "none in 0–1")
    assert "no difference within the metric's range, 0 to 1, is detected" in d.sentence
    # From a mean of 0.6 a difference of 0.7 is as impossible as one of 1.3.
    near = {"a": {0: 0.4, 1: 0.8, 2: 0.6}, "b": {0: 0.7, 1: 0.6, 2: 0.5}}
    (d,) = compare_levels(near, metric=metric, direction=UP, reference="a").differences
    assert d.sd is not None
    assert 0.6 < detectable_difference(d.sd, 3) < 1
    assert d.out_of_range


@pytest.mark.parametrize("metric", ["loss", "robustness", "robustness@night"])
def test_a_metric_without_an_upper_end_has_no_such_range(metric: str) -> None:
    wild = {"a": {0: 0.1, 1: 0.9, 2: 0.6}, "b": {0: 0.8, 1: 0.2, 2: 0.5}}
    (d,) = compare_levels(wild, metric=metric, direction=UP, reference="a").differences
    assert d.detectable is not None
    assert d.detectable > 1
    assert not d.out_of_range


def test_wilcoxon_is_reported_from_six_pairs_on() -> None:
    six = {seed: 0.7 + 0.01 * seed for seed in range(6)}
    more = {seed: v + 0.02 + 0.001 * seed for seed, v in six.items()}
    (d,) = of(a=six, b=more).differences
    assert d.p_wilcoxon == pytest.approx(2 / 2**6)
    assert of(a=A, b=BETTER).differences[0].p_wilcoxon is None


def test_the_interval_of_a_mean_is_students() -> None:
    values = [0.70, 0.72, 0.69]
    found = mean_interval(values)
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert found is not None
    assert (found.low, found.high) == pytest.approx((low, high))
    assert mean_interval([0.7]) is None
    assert mean_interval([0.7, 0.7, 0.7]) is None


@pytest.mark.parametrize(("n", "comparisons"), [(10, 1), (10, 6), (30, 1), (5, 1)])
def test_the_detectable_difference_has_the_power(n: int, comparisons: int) -> None:
    smallest = detectable_difference(2.0, n, comparisons=comparisons)
    power = TTestPower().power(smallest / 2.0, n, 0.05 / comparisons, alternative="two-sided")
    assert power == pytest.approx(POWER, abs=1e-4)


def test_numbers_are_rounded_to_what_the_error_allows() -> None:
    assert rounded(0.123456, 0.02) == "0.123"
    assert rounded(0.123456, 0.002, signed=True) == "+0.1235"
    assert rounded(-12.3456, 3.0) == "−12.3"
    assert rounded(-0.0001, 0.1, signed=True) == "0.00"
    assert rounded(1234.5, 200) == "1234"


def test_everything_is_written_for_programs() -> None:
    found = comparison_json(of(a=A, b=BETTER | {1: math.nan}))
    text = json.loads(json.dumps(found, allow_nan=False))
    assert text["levels"][1]["missing"] == [1]
    assert text["differences"][0]["verdict"] == "better"
    assert comparison_json(of(a=A, b=ALIKE))["differences"][0]["verdict"] == "no difference shown"  # type: ignore[index,call-overload]
    assert text["differences"][0]["words"] == of(a=A, b=BETTER | {1: math.nan}).differences[0].sentence
