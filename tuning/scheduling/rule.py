"""What a stopping rule is, and what it may decide about a trial after each of its reports.

`Decision` is a closed union of frozen values. Code that acts on a decision uses `match` with
`assert_never`, so that the type checker finds each place that does not handle a new kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from trainables.specs.workload import Direction
from tuning.ledger.outcomes import StoppedBy
from tuning.ledger.records import BuiltRecord, ReportRecord


@dataclass(frozen=True, slots=True)
class Continue:
    """The trial continues to train."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The trial ends with this report."""


@dataclass(frozen=True, slots=True)
class Rest:
    """The trial gives up its worker, and may continue from its checkpoint when more have come as far."""


Decision = Continue | Stop | Rest

# A decision is made for each report: these two are all the values that are needed.
CONTINUE: Final = Continue()
STOP: Final = Stop()
REST: Final = Rest()


def sign_of(direction: Direction) -> float:
    """What an objective is multiplied by, so that larger is better."""
    return 1.0 if direction is Direction.MAXIMIZE else -1.0


class StoppingRule(Protocol):
    """Decides which trials stop early, from trial numbers, epochs and running objectives alone.

    The same calls in the same order give the same decisions: a resumed driver brings a fresh rule to the
    state of the last one by making the calls again, from the ledger. Objectives are finite.
    """

    @property
    def by(self) -> StoppedBy:
        """The rule's name in the ledger."""
        ...

    def decide(self, number: int, epoch: float, objective: float) -> Decision:
        """Decide about a trial that is to continue after this report.

        A trial that returned to its checkpoint repeats reports. A report at an epoch that the trial had
        reached before gives CONTINUE and changes nothing.
        """
        ...

    def finish(self, number: int, epoch: float, objective: float) -> None:
        """Take the last report of a trial that ran all its epochs; others may be compared with it."""
        ...


@runtime_checkable
class RestingRule(StoppingRule, Protocol):
    """A rule that may let trials rest. Which one continues depends on the calls alone, as decisions do."""

    @property
    def resting(self) -> frozenset[int]:
        """The trials that rest."""
        ...

    def next_rested(self, *, none_left: bool) -> RestedTrial | None:
        """The resting trial that a free worker is to continue before it starts a new one; None if none is.

        none_left: whether there are no new trials to start.
        """
        ...

    def wake(self, number: int) -> None:
        """A trial no longer rests: it continues, or was ended. Nothing happens if it did not rest."""
        ...


@dataclass(frozen=True, slots=True)
class Exploit:
    """A trial of a population ends, and another one takes its place with the state of a better trial.

    of: the better trial.  generation: how often the population was compared, this time included.
    epoch: of the state.
    """

    trial: int
    of: int
    generation: int
    epoch: float


@runtime_checkable
class PopulationRule(RestingRule, Protocol):
    """A rule that compares all trials of a population at once, when all of them have come as far.

    Trials rest until then. What follows from a comparison is carried out before any of them continues.
    """

    @property
    def due(self) -> tuple[Exploit, ...]:
        """What is to be carried out."""
        ...

    def carried_out(self, number: int, *, replaced: bool) -> None:
        """Trial `number` was replaced; or, if it could not be, it continues like the others."""
        ...

    def waits(self, number: int) -> bool:
        """Whether a trial rests until the population has come as far."""
        ...

    def leave(self, number: int) -> None:
        """A trial has ended: nobody waits for it. If it starts again (`wake`), the others do once more."""
        ...


@runtime_checkable
class ObservingRule(StoppingRule, Protocol):
    """A rule that decides by more than the running objective: it is shown the records of trials."""

    def observe(self, record: BuiltRecord | ReportRecord) -> None:
        """Take a record before anything is decided about it.

        A report at an epoch that the trial had reached before changes nothing.
        """
        ...


@dataclass(frozen=True, order=True, slots=True)
class RestedTrial:
    """A resting trial that may continue. The smallest one does: of the highest rung, the best one there."""

    below: int
    """Minus the index of its rung."""
    value: float
    """What it had at its rung; smaller is better."""
    tie: int
    number: int
