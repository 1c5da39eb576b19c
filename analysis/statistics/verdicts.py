"""Results of a comparison of repeated runs: values, the sentences that describe them, and JSON.

`analysis.statistics.paired` computes the values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from pydantic import JsonValue

from analysis.tables import percent
from trainables.specs.workload import Direction
from trainables.wording import plural, with_full_stop

ALPHA = 0.05
"""Family-wise error rate: how often a family of comparisons without any true difference reports one."""
CONFIDENCE = 0.95
POWER = 0.8
FLAT = 1e-12
"""A spread below this share of the values is rounding error."""

Array = np.ndarray[Any, np.dtype[Any]]


class Verdict(StrEnum):
    """The result of a comparison. The values are part of the JSON output."""

    BETTER = "better"
    WORSE = "worse"
    NOT_SHOWN = "no difference shown"
    IDENTICAL = "identical"
    UNTESTED = "not tested"

    @property
    def label(self) -> str:
        """The text in tables and sentences."""
        return "no significant difference" if self is Verdict.NOT_SHOWN else self.value


@dataclass(frozen=True)
class Interval:
    """A confidence interval at level `CONFIDENCE`."""

    low: float
    high: float

    @property
    def width(self) -> float:
        """The distance between its ends."""
        return self.high - self.low


@dataclass(frozen=True)
class LevelSummary:
    """The results of one level. sd: of single runs, None below two runs."""

    name: str
    values: Mapping[int, float]
    """By seed; only runs with a result."""
    missing: tuple[int, ...]
    """Seeds of the runs without a result."""
    mean: float | None
    sd: float | None
    interval: Interval | None
    """Of the mean; None below two runs or without variance."""

    @property
    def n(self) -> int:
        """The number of runs with a result."""
        return len(self.values)


@dataclass(frozen=True)
class PairedDifference:
    """The difference of two levels, paired by seed: `level` − `reference`."""

    level: str
    reference: str
    seeds: tuple[int, ...]
    """Seeds for which both levels have a result."""
    mean: float | None
    sd: float | None
    """Of the paired differences."""
    interval: Interval | None
    """Of this difference alone; not adjusted for the other comparisons of the family."""
    p: float | None
    """Of the two-sided paired t-test, unadjusted."""
    p_holm: float | None
    """Adjusted over the family (Holm); decides the verdict."""
    p_wilcoxon: float | None
    effect: float | None
    """Hedges' g of the paired differences; None below three pairs or without variance."""
    detectable: float | None
    """Minimum difference that these seeds detect with power `POWER`, given the observed variance.

    None if it was not computed, or is `out_of_range`.
    """
    verdict: Verdict
    why: str = ""
    """Why it was not tested."""
    out_of_range: bool = False
    """Whether these seeds do not detect even the largest difference that the metric can have."""
    unit: str = "seed"
    """What pairs the runs, in words: seed or fold."""

    @property
    def n(self) -> int:
        """The number of pairs."""
        return len(self.seeds)

    @property
    def significant(self) -> bool:
        """Whether the difference is significant."""
        return self.verdict in (Verdict.BETTER, Verdict.WORSE)

    @property
    def detects(self) -> str:
        """The minimum detectable difference for a table."""
        if self.out_of_range:
            return "none in 0–1"
        return "–" if self.detectable is None else rounded(self.detectable, self.detectable)

    @property
    def sentence(self) -> str:
        """The result as a sentence, without its full stop."""
        return _sentence(self)


@dataclass(frozen=True)
class Comparison:
    """The comparison of a family of levels."""

    metric: str
    direction: Direction
    reference: str | None
    """None: all pairs are compared."""
    levels: tuple[LevelSummary, ...]
    """In the order given."""
    differences: tuple[PairedDifference, ...]
    """From the reference, or of all pairs, in the order of the levels."""
    alpha: float = ALPHA
    unit: str = "seed"
    """What pairs the runs, in words: seed or fold."""

    @property
    def tested(self) -> tuple[PairedDifference, ...]:
        """Differences with a p-value: the family of Holm's correction."""
        return tuple(d for d in self.differences if d.p is not None)

    @property
    def sentences(self) -> tuple[str, ...]:
        """The conclusion, each difference, and notes on the runs."""
        return (self.conclusion, *(with_full_stop(d.sentence) for d in self.differences), *self.notes)

    @property
    def conclusion(self) -> str:
        """The result of the family in one sentence."""
        return _conclusion(self)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on missing runs, and on levels where the seed changed nothing."""
        return _notes(self)


# --- sentences --------------------------------------------------------------------------------


def _sentence(d: PairedDifference) -> str:
    pair = f"{d.level} and {d.reference}"
    match d.verdict:
        case Verdict.UNTESTED:
            seen = (
                ""
                if d.mean is None
                else f" (observed mean difference {rounded(d.mean, d.mean, signed=True)})"
            )
            return f"{pair}: not tested{seen}: {d.why}"
        case Verdict.IDENTICAL:
            return f"{pair}: no difference: identical results for all {plural(d.n, d.unit)}"
        case Verdict.NOT_SHOWN:
            return f"{pair}: {d.verdict.label}: {_measured(d)}; {_power(d)}"
        case Verdict.BETTER | Verdict.WORSE:
            return f"{d.level} is {d.verdict} than {d.reference}: {_measured(d)}"


def _measured(d: PairedDifference) -> str:
    assert d.mean is not None
    assert d.interval is not None
    width = d.interval.width
    low, high = (rounded(end, width, signed=True) for end in (d.interval.low, d.interval.high))
    return (
        f"mean difference {rounded(d.mean, width, signed=True)} (95 % CI {low} to {high};"
        f" Holm-adjusted {format_p_value(d.p_holm)}; {plural(d.n, 'pair')})"
    )


def _power(d: PairedDifference) -> str:
    if d.detectable is None:
        return (
            f"with these {d.unit}s no difference within the metric's range, 0 to 1, is detected with"
            f" {percent(POWER)} power; repeat over more {d.unit}s"
        )
    return (
        f"minimum detectable difference with these {d.unit}s: {rounded(d.detectable, d.detectable)}"
        f" ({percent(POWER)} power)"
    )


def rounded(value: float, error: float, *, signed: bool = False) -> str:
    """`value` to the second significant digit of `error`; further digits would be noise."""
    places = 4 if not error or not math.isfinite(error) else 1 - math.floor(math.log10(abs(error)))
    places = min(max(places, 0), 9)
    near = round(value, places) or 0.0  # no −0.00
    return f"{near:{'+' if signed and near else ''}.{places}f}".replace("-", "−")


def format_p_value(p: float | None) -> str:
    """`p = 0.013`, `p < 0.001`, `–`."""
    if p is None:
        return "–"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _conclusion(c: Comparison) -> str:
    if len(c.levels) == 1:
        return f"{c.metric}: only one level ({c.levels[0].name}), so there is nothing to compare."
    shown = [d for d in c.differences if d.significant]
    if not c.tested:
        return with_full_stop(f"{c.metric}: no comparison could be tested: {c.differences[0].why}")
    made = plural(len(c.tested), "comparison")
    untested = len(c.differences) - len(c.tested)
    rest = f"; {untested} more could not be tested" if untested else ""
    if not shown:
        return f"{c.metric}: {Verdict.NOT_SHOWN.label} in {made}{rest}."
    verb = "shows" if len(shown) == 1 else "show"
    return f"{c.metric}: {len(shown)} of {made} {verb} a significant difference{rest}."


def _notes(c: Comparison) -> tuple[str, ...]:
    notes = []
    for level in c.levels:
        if level.missing:
            seeds = ", ".join(map(str, level.missing))
            notes.append(
                f"{level.name}: no result for {c.unit}{'s' if len(level.missing) > 1 else ''} {seeds}; the"
                f" other {c.unit}s alone may make this level look better than it is."
            )
        if level.n > 1 and is_constant(np.array(list(level.values.values()))):
            notes.append(
                f"{level.name}: the same value for all {level.n} {c.unit}s, so there is no confidence"
                f" interval; does the {c.unit} affect training?"
            )
    return tuple(notes)


# --- for programs -----------------------------------------------------------------------------


def comparison_json(c: Comparison) -> dict[str, JsonValue]:
    """The whole comparison for JSON; unknown values are null."""
    return {
        "metric": c.metric,
        "direction": c.direction.value,
        "reference": c.reference,
        "alpha": c.alpha,
        "power": POWER,
        "levels": [
            {
                "level": level.name,
                "n": level.n,
                "values": {str(seed): value for seed, value in level.values.items()},
                "missing": list(level.missing),
                "mean": level.mean,
                "sd": level.sd,
                "interval": interval_json(level.interval),
            }
            for level in c.levels
        ],
        "differences": [
            {
                "level": d.level,
                "reference": d.reference,
                "seeds": list(d.seeds),
                "mean": d.mean,
                "sd": d.sd,
                "interval": interval_json(d.interval),
                "p": d.p,
                "p_holm": d.p_holm,
                "p_wilcoxon": d.p_wilcoxon,
                "effect": d.effect,
                "detectable": d.detectable,
                "out_of_range": d.out_of_range,
                "verdict": d.verdict.value,
                "words": d.sentence,
            }
            for d in c.differences
        ],
        "conclusion": c.conclusion,
        "notes": list(c.notes),
    }


def interval_json(interval: Interval | None) -> JsonValue:
    """The ends of the interval for JSON."""
    if interval is None:
        return None
    return {"low": interval.low, "high": interval.high}


def is_constant(x: Array) -> bool:
    """Whether all values are equal up to rounding."""
    return bool(np.ptp(x) <= FLAT * max(1e-3, float(np.abs(x).max())))
