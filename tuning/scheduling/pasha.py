"""PASHA: ASHA whose largest budget grows only while the ranking of its two highest rungs is unstable."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Sequence
from itertools import pairwise

from trainables.specs.workload import Direction
from tuning.experiment.sections.rungs import rungs_from
from tuning.experiment.sections.scheduler import PashaSpec
from tuning.ledger.outcomes import StoppedBy
from tuning.scheduling.context import NO_CONTEXT, RuleContext
from tuning.scheduling.rank import Rank
from tuning.scheduling.rule import CONTINUE, STOP, Decision, StoppingRule, sign_of
from tuning.scheduling.threshold import percentile

_NOISE_PERCENTILE = 90.0
"""Of the differences between trials whose curves cross back and forth (Bohdal et al. 2023, section 4.3)."""


def build_pasha(
    spec: PashaSpec, direction: Direction, *, max_epochs: float, context: RuleContext = NO_CONTEXT
) -> StoppingRule | None:
    """Build PASHA; None if no report could come before the first rung.

    max_epochs: the most epochs that any trial runs, and the budget that is reached at the latest.
    """
    if max_epochs <= spec.grace_epochs:
        return None
    rungs = rungs_from(spec.grace_epochs, spec.reduction_factor, max_epochs)
    factor = spec.reduction_factor
    return Pasha(rungs, factor, sign_of(direction), again=context.factor_again(factor))


class Pasha(Rank):
    """A `StoppingRule` (Bohdal et al. 2023): by rank below the ceiling, and every trial stops at the ceiling.

    The ceiling is the second rung at first. When a trial reaches it, the trials there are put in order by
    their values at the ceiling and at the rung below. If the two orders differ by more than noise, the
    ceiling is raised by a rung, and the trial goes on if it is among the best; above the last rung there is
    no ceiling. In the paper trials pause at the ceiling; here they end there.

    rungs: their epochs, in rising order.  sign: -1 where a smaller objective is better.  again: as of `Rank`.
    """

    def __init__(self, rungs: tuple[float, ...], factor: float, sign: float, *, again: float) -> None:
        super().__init__(rungs, factor, sign, StoppedBy.PASHA, again=again)
        self._ceiling = 1
        self._curves: dict[int, dict[float, float]] = {}
        self._crossing: list[float] = []
        """The last differences between trials whose curves have crossed twice, in order."""

    def decide(self, number: int, epoch: float, objective: float) -> Decision:
        """Decide by rank, and stop a trial at the ceiling unless its arrival raises the ceiling."""
        if epoch <= self._reached.get(number, -math.inf):
            return CONTINUE
        self._curves.setdefault(number, {})[round(epoch, 6)] = objective
        decision = super().decide(number, epoch, objective)
        if self._rung_of(number) < self._ceiling or self._ceiling >= len(self._rungs):
            return decision
        return decision if self._is_raised_by(number) else STOP

    def finish(self, number: int, epoch: float, objective: float) -> None:
        """Enter the last value into the highest rung."""
        self._curves.setdefault(number, {})[round(epoch, 6)] = objective
        super().finish(number, epoch, objective)

    def _rung_of(self, number: int) -> int:
        return self._last[number][0] if number in self._last else -1

    def _is_raised_by(self, number: int) -> bool:
        """Raise the ceiling if the order of the trials that have reached it is not stable yet."""
        at, below = ({n: -value for value, _, n in self._places[self._ceiling - i]} for i in (0, 1))
        both = [n for n in at if n in below]
        for other in both:
            if other != number:
                self._note_crossing(self._curves[number], self._curves[other])
        noise = percentile(self._crossing, _NOISE_PERCENTILE) if self._crossing else 0.0
        if is_stable([at[n] for n in both], [below[n] for n in both], noise):
            return False
        self._ceiling += 1
        return True

    def _note_crossing(self, one: dict[float, float], other: dict[float, float]) -> None:
        differences = [one[epoch] - other[epoch] for epoch in sorted(one.keys() & other.keys())]
        signs = [difference > 0 for difference in differences if difference]
        if sum(before != after for before, after in pairwise(signs)) >= 2:
            insort(self._crossing, abs(differences[-1]))


def is_stable(here: Sequence[float], below: Sequence[float], noise: float) -> bool:
    """Whether trials have the same order at two rungs, if values closer than `noise` may change places.

    here, below: the values of the same trials at the higher and at the lower rung; larger is better.
    """
    order = sorted(range(len(here)), key=lambda trial: -below[trial])
    return all(
        abs(here[trial] - value) <= noise
        for trial, value in zip(order, sorted(here, reverse=True), strict=True)
    )
