"""ASHA's rule `rank`: a trial goes on while it is one of the best of its rung, later ones included."""

from __future__ import annotations

import math
from bisect import bisect_left, insort

from tuning.experiment.sections.rungs import highest_rung
from tuning.ledger.outcomes import StoppedBy
from tuning.scheduling.rule import CONTINUE, REST, STOP, Decision, RestedTrial
from tuning.scheduling.tie_break import mixed

Place = tuple[float, int, int]
"""A trial in its rung: its value, smaller is better, the hash that breaks ties, and its number."""


class Rank:
    """A `RestingRule`: the best max(1, n // factor) of the n trials that have reached a rung go on.

    The trial's own value counts. At each later report the value that it had at its last rung is compared
    once more, with those that have come since, and is to be among the best max(1, n // again).

    rungs: their epochs, in rising order.  sign: -1 where a smaller objective is better.
    again: at most `factor`; see `RuleContext.factor_again`.
    rest: at a rung of fewer than `factor` trials a trial rests. It continues when it is among the best
    n // factor there, or if it is the best one and no new trials are left.
    """

    def __init__(
        self,
        rungs: tuple[float, ...],
        factor: float,
        sign: float,
        by: StoppedBy,
        *,
        again: float,
        rest: bool = False,
    ) -> None:
        self.by = by
        self._rungs = rungs
        self._factor = factor
        self._again = again
        self._sign = sign
        self._rest = rest
        self._places: tuple[list[Place], ...] = tuple([] for _ in rungs)
        self._last: dict[int, tuple[int, Place]] = {}
        self._reached: dict[int, float] = {}
        self._resting: dict[int, tuple[int, Place]] = {}

    def decide(self, number: int, epoch: float, objective: float) -> Decision:
        """Enter a trial into the highest rung that it has reached, and see whether it is among the best."""
        if epoch <= self._reached.get(number, -math.inf):
            return CONTINUE
        enters = self._enter(number, epoch, objective)
        if number not in self._last:
            return CONTINUE
        rung, place = self._last[number]
        if self._rest and enters and len(self._places[rung]) < self._factor:
            self._resting[number] = (rung, place)
            return REST
        best = self._best_of(rung, self._factor if enters else self._again)
        return CONTINUE if self._is_among(max(1, best), rung, place) else STOP

    def finish(self, number: int, epoch: float, objective: float) -> None:
        """Enter the last value into the highest rung."""
        self._enter(number, epoch, objective)

    @property
    def resting(self) -> frozenset[int]:
        """The trials that rest."""
        return frozenset(self._resting)

    def next_rested(self, *, none_left: bool) -> RestedTrial | None:
        """The resting trial that is among the best of its rung: of the highest rung, the best one."""
        able = [
            RestedTrial(-rung, *place)
            for rung, place in self._resting.values()
            if self._is_among(max(none_left, self._best_of(rung, self._factor)), rung, place)
        ]
        return min(able, default=None)

    def wake(self, number: int) -> None:
        """A trial no longer rests."""
        self._resting.pop(number, None)

    def _best_of(self, rung: int, factor: float) -> int:
        return int(len(self._places[rung]) // factor)

    def _is_among(self, best: int, rung: int, place: Place) -> bool:
        return bisect_left(self._places[rung], place) < best

    def _enter(self, number: int, epoch: float, objective: float) -> bool:
        """Enter a value into the highest rung that it reaches; returns whether that is new for the trial."""
        self._reached[number] = epoch
        rung = highest_rung(self._rungs, epoch)
        if rung < 0 or (number in self._last and self._last[number][0] >= rung):
            return False
        place = (-self._sign * objective, mixed(number), number)
        insort(self._places[rung], place)
        self._last[number] = (rung, place)
        return True
