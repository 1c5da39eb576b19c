"""What a stopping rule is, and what it may decide about a trial after each of its reports.

`Decision` is a closed union of frozen values. Code that acts on a decision uses `match` with
`assert_never`, so that the type checker finds each place that does not handle a new kind. Two kinds are
left for later: `Pause` (the trial waits until others have caught up) and `Exploit(of, params)` (the trial
continues from the weights of trial `of` with other settings, as in population based training). Each is
one more class here and one more member of `Decision`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from trainables.specs.workload import Direction
from tuning.ledger.records import StoppedBy


@dataclass(frozen=True, slots=True)
class Continue:
    """The trial continues to train."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The trial ends with this report."""


Decision = Continue | Stop

# A decision is made for each report: these two are all the values that are needed.
CONTINUE: Final = Continue()
STOP: Final = Stop()


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
