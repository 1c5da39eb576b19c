"""The median rule: stops a trial that is worse than the median of the others' running averages."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, field

import numpy as np

from trainables.specs.workload import Direction
from tuning.experiment.sections.rungs import A_LITTLE
from tuning.experiment.sections.scheduler import MedianSpec
from tuning.ledger.outcomes import StoppedBy
from tuning.scheduling.context import AS_RAY, NO_CONTEXT, RuleContext
from tuning.scheduling.rule import CONTINUE, STOP, Decision, sign_of
from tuning.scheduling.tie_break import mixed


def build_median(
    spec: MedianSpec, direction: Direction, *, max_epochs: float, context: RuleContext = NO_CONTEXT
) -> Median:
    """Build the median stopping rule (Golovin et al. 2017, Google Vizier) in epochs."""
    return Median(spec.grace_epochs, spec.min_trials, sign_of(direction), as_ray=context.version == AS_RAY)


@dataclass
class _Curve:
    """A trial's reports from the grace period on: larger values are better."""

    last: float = -math.inf
    """The last epoch, the grace period included."""
    best: float = -math.inf
    epochs: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    means: list[float] = field(default_factory=list)
    """The mean of all values up to each epoch."""


class Median:
    """A `StoppingRule`: a trial's best value is compared with the running averages of others at its epoch.

    Of the trials whose best value equals the median half stop, by a hash of their numbers. A trial has the
    same hash at each report, so that a long plateau stops no more of them than a short one.

    min_trials: the number of others to compare with.  sign: -1 where a smaller objective is better.
    as_ray: decide as Ray Tune's rule does, in which a value that equals the median continues.
    """

    by = StoppedBy.MEDIAN

    def __init__(self, grace_epochs: float, min_trials: int, sign: float, *, as_ray: bool = False) -> None:
        self._grace = grace_epochs
        self._min_trials = min_trials
        self._sign = sign
        self._as_ray = as_ray
        self._curves: dict[int, _Curve] = {}

    def decide(self, number: int, epoch: float, objective: float) -> Decision:
        """Compare a trial at each of its reports from the grace period on."""
        if number in self._curves and epoch + A_LITTLE <= self._curves[number].last:
            return CONTINUE
        self._take(number, epoch, objective)
        if epoch + A_LITTLE < self._grace:
            return CONTINUE
        others = self._averages(number, epoch + A_LITTLE)
        if len(others) < self._min_trials:
            return CONTINUE
        best, median = self._curves[number].best, float(np.median(others))
        if best != median or self._as_ray:
            return STOP if best < median else CONTINUE
        return STOP if mixed(number) >> 63 else CONTINUE

    def finish(self, number: int, epoch: float, objective: float) -> None:
        """Take the last report; others are compared with it."""
        self._take(number, epoch, objective)

    def _take(self, number: int, epoch: float, objective: float) -> None:
        curve, at, value = self._curves.setdefault(number, _Curve()), epoch + A_LITTLE, self._sign * objective
        curve.last = at
        curve.best = max(curve.best, value)
        if at >= self._grace:
            curve.epochs.append(at)
            curve.values.append(value)
            curve.means.append(float(np.mean(curve.values)))

    def _averages(self, number: int, at: float) -> list[float]:
        """The running averages of the others that have reached this epoch."""
        found = []
        for other, curve in self._curves.items():
            reached = bisect_right(curve.epochs, at)
            if other != number and curve.last >= at and reached and math.isfinite(curve.means[reached - 1]):
                found.append(curve.means[reached - 1])
        return found
