"""ASHA's rule `threshold`: a value at a rung is compared with a percentile of those that came before it."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from dataclasses import dataclass, field

from tuning.experiment.sections.rungs import A_LITTLE, highest_rung
from tuning.ledger.outcomes import StoppedBy
from tuning.scheduling.rule import CONTINUE, STOP, Decision
from tuning.scheduling.tie_break import mixed


@dataclass
class _Rung:
    """Values in order, larger is better; with the hash that breaks ties; and the trials that have one."""

    ordered: list[float] = field(default_factory=list)
    placed: list[tuple[float, int]] = field(default_factory=list)
    trials: set[int] = field(default_factory=set)


class Threshold:
    """A `StoppingRule`: the values of a rung set the cutoff for the next one (Li et al. 2020, as Ray Tune).

    A value equal to the cutoff is placed among those that it equals by a hash of the trial's number, so that
    one in `factor` continues where all are equal. If none did, all trials on a plateau would be stopped, an
    upper one included; if all did, none would.

    rungs: their epochs, in rising order.  sign: -1 where a smaller objective is better.
    as_ray: decide as Ray's ASHA does. A value equal to the cutoff then continues, and after a report that
    skips rungs the next ones are compared at the rungs below it.
    """

    def __init__(
        self, rungs: tuple[float, ...], factor: float, sign: float, by: StoppedBy, *, as_ray: bool = False
    ) -> None:
        self.by = by
        self._rungs = rungs
        self._share = (1 - 1 / factor) * 100
        self._sign = sign
        self._as_ray = as_ray
        self._values = tuple(_Rung() for _ in rungs)
        self._reached: dict[int, float] = {}

    def decide(self, number: int, epoch: float, objective: float) -> Decision:
        """Compare a trial at the highest rung that it has reached, once per rung."""
        if epoch <= self._reached.get(number, -math.inf):
            return CONTINUE
        self._reached[number] = epoch
        return self._enter(number, epoch, objective)

    def finish(self, number: int, epoch: float, objective: float) -> None:
        """Enter the last value into the highest rung."""
        self._enter(number, epoch, objective)

    def _enter(self, number: int, epoch: float, objective: float) -> Decision:
        rung = self._rung_of(number, epoch)
        if rung is None:
            return CONTINUE
        place = (self._sign * objective, mixed(number))
        decision = STOP if rung.ordered and self._is_below(rung, place) else CONTINUE
        insort(rung.ordered, place[0])
        insort(rung.placed, place)
        rung.trials.add(number)
        return decision

    def _is_below(self, rung: _Rung, place: tuple[float, int]) -> bool:
        cutoff = percentile(rung.ordered, self._share)
        if place[0] != cutoff or self._as_ray:
            return place[0] < cutoff
        return bisect_left(rung.placed, place) <= (len(rung.placed) - 1) * self._share / 100

    def _rung_of(self, number: int, epoch: float) -> _Rung | None:
        """The rung that the report counts at; None if it counts at none."""
        if self._as_ray:
            below = (
                values
                for rung, values in zip(reversed(self._rungs), reversed(self._values), strict=True)
                if epoch + A_LITTLE >= rung and number not in values.trials
            )
            return next(below, None)
        at = highest_rung(self._rungs, epoch)
        return self._values[at] if at >= 0 and number not in self._values[at].trials else None


def percentile(ordered: list[float], percent: float) -> float:
    """Compute `numpy.nanpercentile` of sorted values without NaN, by the same arithmetic, step by step."""
    at = (len(ordered) - 1) * (percent / 100)
    if at >= len(ordered) - 1:
        return ordered[-1]
    below = math.floor(at)
    low, high, share = ordered[below], ordered[below + 1], at - below
    return high - (high - low) * (1 - share) if share >= 0.5 else low + (high - low) * share
