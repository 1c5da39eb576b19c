"""Population-based training (Jaderberg et al. 2017), in step: all trials are compared at once.

After every interval each trial rests until all have come as far. Then each of the worst is replaced by a
trial that goes on from the state of one of the best, with other settings. What is compared does not depend on
the number of workers, nor on which trial was faster.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from trainables.specs.workload import Direction
from tuning.experiment.sections.rungs import A_LITTLE
from tuning.experiment.sections.scheduler import PbtSpec
from tuning.ledger.outcomes import StoppedBy
from tuning.scheduling.context import RuleContext
from tuning.scheduling.rule import CONTINUE, REST, Decision, Exploit, RestedTrial, StoppingRule, sign_of
from tuning.scheduling.tie_break import mixed


@dataclass(frozen=True)
class Arrival:
    """A trial at the end of an interval. value: smaller is better."""

    value: float
    epoch: float


class Pbt:
    """A `PopulationRule`. sign: -1 where a smaller objective is better.  population: the number of trials."""

    by = StoppedBy.PBT

    def __init__(self, spec: PbtSpec, sign: float, context: RuleContext, population: int) -> None:
        self._interval = spec.interval_epochs
        self._quantile = spec.quantile
        self._sign = sign
        self._seed = context.seed
        self._member = context.member
        self._population = population
        self._reached: dict[int, float] = {}
        self._at: dict[int, int] = {}
        """The last generation that each trial has come to."""
        self._arrived: dict[int, Arrival] = {}
        """The trials that have come to the generation that is being gathered."""
        self._compared = 0
        """How many generations were compared."""
        self._waiting: set[int] = set()
        self._free: dict[int, RestedTrial] = {}
        self._due: dict[int, Exploit] = {}
        self._left: set[int] = set()
        """Trials that have ended, and were not replaced."""
        self._replaced: set[int] = set()

    def decide(self, number: int, epoch: float, objective: float) -> Decision:
        """Let a trial rest at the end of each interval; the last one that comes has all of them compared."""
        if not self._member(number) or epoch <= self._reached.get(number, -math.inf):
            return CONTINUE
        self._reached[number] = epoch
        generation = int((epoch + A_LITTLE) // self._interval)
        # One that was started again after it had failed catches up with the others.
        if generation <= max(self._at.get(number, 0), self._compared):
            return CONTINUE
        self._at[number] = generation
        self._arrived[number] = Arrival(-self._sign * objective, epoch)
        self._waiting.add(number)
        self._compare_if_all_are_here()
        return REST

    def finish(self, number: int, epoch: float, objective: float) -> None:
        """Nothing is compared at the end."""

    @property
    def resting(self) -> frozenset[int]:
        """The trials that rest."""
        return frozenset(self._waiting | self._free.keys())

    def waits(self, number: int) -> bool:
        """Whether a trial rests until the population has come as far."""
        return number in self._waiting

    def next_rested(self, *, none_left: bool) -> RestedTrial | None:
        """A trial that was compared and goes on, the best one first."""
        return min(self._free.values(), default=None)

    def wake(self, number: int) -> None:
        """A trial no longer rests. If it had ended it has started again, and the others wait for it."""
        self._waiting.discard(number)
        self._free.pop(number, None)
        self._due.pop(number, None)  # it was stopped first, or goes on with its own state
        self._left.discard(number)

    @property
    def due(self) -> tuple[Exploit, ...]:
        """The trials that are to be replaced, in the order of their numbers."""
        return tuple(self._due[number] for number in sorted(self._due))

    def carried_out(self, number: int, *, replaced: bool) -> None:
        """Take note that a trial was replaced, or goes on with its own state."""
        exploit = self._due.pop(number, None)
        self._waiting.discard(number)
        if replaced:
            self._replaced.add(number)
        elif exploit is not None:
            self._free[number] = RestedTrial(-exploit.generation, math.inf, mixed(number), number)

    def leave(self, number: int) -> None:
        """Take note that a trial has ended; the last one that the others waited for has them compared."""
        self._waiting.discard(number)
        self._free.pop(number, None)
        if self._member(number) and number not in self._replaced:
            self._left.add(number)
            self._compare_if_all_are_here()

    def _compare_if_all_are_here(self) -> None:
        here = {number: at for number, at in self._arrived.items() if number not in self._left}
        if not here or len(here) + len(self._left) < self._population:
            return
        self._compared = max(self._at[number] for number in here)
        self._arrived = {}
        order = sorted(here, key=lambda number: (here[number].value, mixed(number), number))
        replaced = min(int(len(order) * self._quantile + A_LITTLE), len(order) // 2)
        best, worst = order[:replaced], order[len(order) - replaced :]
        for number in order:
            of = best[mixed(number, self._seed + self._compared) % replaced] if number in worst else number
            if here[of].value < here[number].value:
                self._due[number] = Exploit(number, of, self._compared, here[of].epoch)
            else:
                self._waiting.discard(number)
                self._free[number] = RestedTrial(-self._compared, here[number].value, mixed(number), number)


def build_pbt(
    spec: PbtSpec, direction: Direction, *, max_epochs: float, context: RuleContext
) -> StoppingRule | None:
    """The rule of the section `pbt`; None where trials end before they would be compared."""
    if spec.interval_epochs >= max_epochs or context.population is None:
        return None
    return Pbt(spec, sign_of(direction), context, context.population)
