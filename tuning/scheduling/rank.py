"""ASHA's rule `rank`: a trial goes on while it is one of the best of its rung, later ones included."""

from __future__ import annotations

import math
from bisect import bisect_left, insort

from tuning.experiment.sections.rungs import highest_rung
from tuning.ledger.records import StoppedBy
from tuning.scheduling.rule import CONTINUE, STOP, Decision
from tuning.scheduling.tie_break import mixed

Place = tuple[float, int, int]
"""A trial in its rung: its value, smaller is better, the hash that breaks ties, and its number."""


class Rank:
    """A `StoppingRule`: the best max(1, n // factor) of the n trials that have reached a rung go on.

    The trial's own value counts. At each later report the value that it had at its last rung is compared
    once more, with those that have come since.

    rungs: their epochs, in rising order.  sign: -1 where a smaller objective is better.
    """

    def __init__(self, rungs: tuple[float, ...], factor: float, sign: float, by: StoppedBy) -> None:
        self.by = by
        self._rungs = rungs
        self._factor = factor
        self._sign = sign
        self._places: tuple[list[Place], ...] = tuple([] for _ in rungs)
        self._last: dict[int, tuple[int, Place]] = {}
        self._reached: dict[int, float] = {}

    def decide(self, number: int, epoch: float, objective: float) -> Decision:
        """Enter a trial into the highest rung that it has reached, and see whether it is among the best."""
        if epoch <= self._reached.get(number, -math.inf):
            return CONTINUE
        self._enter(number, epoch, objective)
        if number not in self._last:
            return CONTINUE
        rung, place = self._last[number]
        rivals = self._places[rung]
        return CONTINUE if bisect_left(rivals, place) < max(1, len(rivals) // self._factor) else STOP

    def finish(self, number: int, epoch: float, objective: float) -> None:
        """Enter the last value into the highest rung."""
        self._enter(number, epoch, objective)

    def _enter(self, number: int, epoch: float, objective: float) -> None:
        self._reached[number] = epoch
        rung = highest_rung(self._rungs, epoch)
        if rung < 0 or (number in self._last and self._last[number][0] >= rung):
            return
        place = (-self._sign * objective, mixed(number), number)
        insort(self._places[rung], place)
        self._last[number] = (rung, place)
