"""Dominance: a trial stops if too many of its rung are as good in everything and better in something."""

from __future__ import annotations

import math
from typing import NamedTuple

from trainables.specs.workload import Direction
from tuning.experiment.goals import Goals, dominates, signed
from tuning.experiment.sections.rungs import highest_rung, rungs_from
from tuning.experiment.sections.scheduler import DominanceSpec
from tuning.ledger.outcomes import StoppedBy
from tuning.ledger.records import BuiltRecord, ReportRecord
from tuning.ledger.trial_values import TrialValues
from tuning.scheduling.context import NO_CONTEXT, RuleContext
from tuning.scheduling.rule import CONTINUE, STOP, Decision
from tuning.scheduling.tie_break import mixed


def build_dominance(
    spec: DominanceSpec, direction: Direction, *, max_epochs: float, context: RuleContext = NO_CONTEXT
) -> Dominance | None:
    """Build the rule with rungs in epochs; None if no report could come before the first."""
    if max_epochs <= spec.grace_epochs:
        return None
    rungs = rungs_from(spec.grace_epochs, spec.reduction_factor, max_epochs)
    factor, goals = spec.reduction_factor, context.goals or Goals.one(direction)
    return Dominance(rungs, factor, goals, again=context.factor_again(factor))


class Place(NamedTuple):
    """A trial in its rung. broken: the sum of what it breaks of its constraints.

    values: of the objectives, smaller is better.  tie: the hash that breaks ties.
    """

    broken: float
    values: tuple[float, ...]
    tie: int


class Dominance:
    """An `ObservingRule`: successive halving by the number of trials that dominate a trial.

    A trial that enters a rung goes on while fewer than max(1, n // factor) of its n trials dominate it; at
    each later report it is compared once more with those that have come since, and goes on while fewer
    than max(1, n // again) dominate it. So with one objective it is ASHA's rule `rank`, and with several no
    trial of the front is ever stopped. The number of dominating trials is the rank of Fonseca and Fleming
    (1993); of equal trials the one with the smaller hash counts as the better one. A trial that breaks its
    constraints less dominates one that breaks them more (Deb 2000).

    rungs: their epochs, in rising order.  goals: what is weighed.  again: see `RuleContext.factor_again`.
    """

    by = StoppedBy.DOMINANCE

    def __init__(self, rungs: tuple[float, ...], factor: float, goals: Goals, *, again: float) -> None:
        self._rungs = rungs
        self._factor = factor
        self._again = again
        self._goals = goals
        self._places: tuple[list[Place], ...] = tuple([] for _ in rungs)
        self._last: dict[int, tuple[int, Place]] = {}
        self._reached: dict[int, float] = {}
        self._values: dict[int, TrialValues] = {}

    def observe(self, record: BuiltRecord | ReportRecord) -> None:
        """Take what a trial's model costs, or a report before it is decided about."""
        followed = self._values.setdefault(record.trial, TrialValues(self._goals))
        if isinstance(record, BuiltRecord):
            followed.built(record)
        elif record.epoch > self._reached.get(record.trial, -math.inf):
            followed.report(record)

    def decide(self, number: int, epoch: float, objective: float) -> Decision:
        """Enter a trial into the highest rung that it has reached, and count the trials that dominate it."""
        if epoch <= self._reached.get(number, -math.inf):
            return CONTINUE
        enters = self._enter(number, epoch, objective)
        if number not in self._last:
            return CONTINUE
        rung, place = self._last[number]
        places = self._places[rung]
        most = max(1, int(len(places) // (self._factor if enters else self._again)))
        return STOP if _is_dominated(place, places, most) else CONTINUE

    def finish(self, number: int, epoch: float, objective: float) -> None:
        """Enter the last values into the highest rung."""
        self._enter(number, epoch, objective)

    def _enter(self, number: int, epoch: float, objective: float) -> bool:
        """Enter the values into the highest rung; returns whether that is new for the trial."""
        self._reached[number] = epoch
        rung = highest_rung(self._rungs, epoch)
        if rung < 0 or (number in self._last and self._last[number][0] >= rung):
            return False
        place = self._place(number, objective)
        if place is not None:
            self._places[rung].append(place)
            self._last[number] = (rung, place)
        return place is not None

    def _place(self, number: int, objective: float) -> Place | None:
        """The trial's place; None without a value of each objective."""
        known = self._values.get(number)
        values = ({} if known is None else known.values) | {self._goals.first.metric: objective}
        vector = self._goals.vector(values)
        if vector is None:
            return None
        bounds = self._goals.constraints
        broken = sum(max(0.0, bounds[name].violation(values[name])) for name in bounds if name in values)
        return Place(broken, signed(self._goals, vector), mixed(number))


def _is_dominated(place: Place, places: list[Place], most: int) -> bool:
    """Whether at least `most` of the places dominate this one."""
    count = 0
    for other in places:
        count += _before(other, place)
        if count >= most:
            return True
    return False


def _before(one: Place, other: Place) -> bool:
    if one.broken != other.broken:
        return one.broken < other.broken
    if one.values == other.values:
        return one.tie < other.tie
    return dominates(one.values, other.values)
