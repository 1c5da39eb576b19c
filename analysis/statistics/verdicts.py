"""What a comparison of repeated runs found: values, the words for them, and JSON.

`analysis.statistics.paired` works them out. No ray, no torch.
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

ALPHA = 0.05
"""Chance that a family of comparisons without any real difference reports one."""
CONFIDENCE = 0.95
POWER = 0.8
FLAT = 1e-12
"""Spread below this share of the values is rounding, not spread."""

Array = np.ndarray[Any, np.dtype[Any]]


class Verdict(StrEnum):
    """What a comparison says."""

    BETTER = "better"
    WORSE = "worse"
    NOT_SHOWN = "no difference shown"
    IDENTICAL = "identical"
    UNTESTED = "not tested"


@dataclass(frozen=True)
class Interval:
    """Where the truth lies with `CONFIDENCE`."""

    low: float
    high: float

    @property
    def width(self) -> float:
        """From end to end."""
        return self.high - self.low


@dataclass(frozen=True)
class Level:
    """One level's figures. sd: of single runs, None below two."""

    name: str
    values: Mapping[int, float]
    """By seed; only runs that have a figure."""
    missing: tuple[int, ...]
    """Seeds whose run has none."""
    mean: float | None
    sd: float | None
    interval: Interval | None
    """Of the mean; None below two runs, or without any spread."""

    @property
    def n(self) -> int:
        """Runs that have a figure."""
        return len(self.values)


@dataclass(frozen=True)
class Difference:
    """One level against another, paired by seed. All differences are `level` − `reference`."""

    level: str
    reference: str
    seeds: tuple[int, ...]
    """Those that both have."""
    mean: float | None
    sd: float | None
    """Of the paired differences."""
    interval: Interval | None
    """Of this difference alone; not widened for the others of the family."""
    p: float | None
    """Of the paired t-test, two-sided, unadjusted."""
    p_holm: float | None
    """Adjusted over the family; decides the verdict."""
    p_wilcoxon: float | None
    effect: float | None
    """Hedges' g of the paired differences; None below three pairs or without spread."""
    detectable: float | None
    """Smallest true difference that these seeds find with probability `POWER`; from the spread seen."""
    verdict: Verdict
    why: str = ""
    """Why it is not tested."""

    @property
    def n(self) -> int:
        """Pairs."""
        return len(self.seeds)

    @property
    def shown(self) -> bool:
        """Whether a difference is shown."""
        return self.verdict in (Verdict.BETTER, Verdict.WORSE)

    @property
    def words(self) -> str:
        """The finding in a sentence, without its full stop."""
        return _words(self)


@dataclass(frozen=True)
class Comparison:
    """A family of levels, compared."""

    metric: str
    direction: Direction
    reference: str | None
    """None: all pairs are compared."""
    levels: tuple[Level, ...]
    """In the order given."""
    differences: tuple[Difference, ...]
    """Against the reference, or all pairs, in the order of the levels."""
    alpha: float = ALPHA

    @property
    def tested(self) -> tuple[Difference, ...]:
        """Those with a p-value: Holm's family."""
        return tuple(d for d in self.differences if d.p is not None)

    @property
    def sentences(self) -> tuple[str, ...]:
        """The finding as a whole, each comparison, and what is to be known about the runs."""
        return (self.conclusion, *(_stopped(d.words) for d in self.differences), *self.notes)

    @property
    def conclusion(self) -> str:
        """The finding of the family in a sentence."""
        return _conclusion(self)

    @property
    def notes(self) -> tuple[str, ...]:
        """Missing runs, and seeds that changed nothing."""
        return _notes(self)


# --- words ------------------------------------------------------------------------------------


def _words(d: Difference) -> str:
    pair = f"{d.level} and {d.reference}"
    match d.verdict:
        case Verdict.UNTESTED:
            seen = "" if d.mean is None else f" (seen: {rounded(d.mean, d.mean, signed=True)})"
            return f"{pair}: not tested{seen}: {d.why}"
        case Verdict.IDENTICAL:
            return f"{pair}: no difference shown: identical in all {d.n} seeds"
        case Verdict.NOT_SHOWN:
            return f"{pair}: no difference shown: {_measured(d)}; {_seen(d)}"
        case Verdict.BETTER | Verdict.WORSE:
            return f"{d.level} is {d.verdict} than {d.reference}: {_measured(d)}"


def _measured(d: Difference) -> str:
    assert d.mean is not None
    assert d.interval is not None
    width = d.interval.width
    low, high = (rounded(end, width, signed=True) for end in (d.interval.low, d.interval.high))
    return (
        f"{rounded(d.mean, width, signed=True)} (95 % interval {low} to {high};"
        f" {p_value(d.p_holm)} after Holm; {d.n} pairs)"
    )


def _seen(d: Difference) -> str:
    assert d.detectable is not None
    return (
        f"with these seeds a difference of {rounded(d.detectable, d.detectable)} would have been found"
        f" {percent(POWER)} of the time, a smaller one less often"
    )


def rounded(value: float, error: float, *, signed: bool = False) -> str:
    """`value` to the second significant digit of `error`, which says what its further digits are worth."""
    places = 4 if not error or not math.isfinite(error) else 1 - math.floor(math.log10(abs(error)))
    places = min(max(places, 0), 9)
    near = round(value, places) or 0.0  # no −0.00
    return f"{near:{'+' if signed and near else ''}.{places}f}".replace("-", "−")


def p_value(p: float | None) -> str:
    """`p = 0.013`, `p < 0.001`, `–`."""
    if p is None:
        return "–"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _conclusion(c: Comparison) -> str:
    if len(c.levels) == 1:
        return f"{c.metric}: one level only ({c.levels[0].name}), so there is nothing to compare."
    shown = [d for d in c.differences if d.shown]
    if not c.tested:
        return _stopped(f"{c.metric}: nothing could be tested: {c.differences[0].why}")
    made = f"{len(c.tested)} comparison{'s' if len(c.tested) > 1 else ''}"
    untested = len(c.differences) - len(c.tested)
    rest = f"; {untested} more could not be tested" if untested else ""
    if not shown:
        return f"{c.metric}: no difference shown in {made}{rest}."
    return f"{c.metric}: {len(shown)} of {made} {'shows' if len(shown) == 1 else 'show'} a difference{rest}."


def _stopped(text: str) -> str:
    return text if text.endswith("?") else f"{text}."


def _notes(c: Comparison) -> tuple[str, ...]:
    notes = []
    for level in c.levels:
        if level.missing:
            seeds = ", ".join(map(str, level.missing))
            notes.append(
                f"{level.name}: no figure from seed{'s' if len(level.missing) > 1 else ''} {seeds}; what is"
                " said is of the others, which may flatter it."
            )
        if level.n > 1 and flat(np.array(list(level.values.values()))):
            notes.append(
                f"{level.name}: the same figure from all {level.n} seeds, so no interval;"
                " does the seed vary the training?"
            )
    return tuple(notes)


# --- for programs -----------------------------------------------------------------------------


def comparison_json(c: Comparison) -> dict[str, JsonValue]:
    """Everything above, for JSON; what is not known is null."""
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
                "verdict": d.verdict.value,
                "words": d.words,
            }
            for d in c.differences
        ],
        "conclusion": c.conclusion,
        "notes": list(c.notes),
    }


def interval_json(interval: Interval | None) -> JsonValue:
    """Its ends, for JSON."""
    if interval is None:
        return None
    return {"low": interval.low, "high": interval.high}


def flat(x: Array) -> bool:
    """Whether all values are the same up to rounding."""
    return bool(np.ptp(x) <= FLAT * max(1e-3, float(np.abs(x).max())))
