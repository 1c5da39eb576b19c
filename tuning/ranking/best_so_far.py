"""The best trial so far, kept up as records come. No ray, no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from trainables.specs.workload import Direction, ValueRule
from tuning.ledger.history import TrialHistory
from tuning.ledger.records import RAN_TO_END, Outcome

_RANKED = (*RAN_TO_END, Outcome.PRUNED, Outcome.STOPPED, Outcome.INTERRUPTED)


@dataclass(frozen=True)
class Best:
    """The best value so far, and whose it is."""

    trial: int
    value: float
    epoch: float


class Leader:
    """Under rule `last` only trials that ran to their own end compete. Among equals the first leads."""

    def __init__(self, direction: Direction, rule: ValueRule) -> None:
        self.best: Best | None = None
        self._direction = direction
        self._outcomes = RAN_TO_END if rule is ValueRule.LAST else (None, *_RANKED)

    def observe(self, changed: TrialHistory, trials: Iterable[TrialHistory]) -> None:
        """One of the trials has changed; all are looked at only where that was the best one, and lost."""
        now = self._standing(changed)
        if self.best is None or self.best.trial != changed.number:
            self._challenge(now)
        elif now is not None and not self._direction.better(self.best.value, now.value):
            self.best = now
        else:
            self.best = None
            for trial in trials:
                self._challenge(self._standing(trial))

    def _standing(self, trial: TrialHistory) -> Best | None:
        """What a trial competes with, if it does."""
        value = trial.value
        if value is None or trial.outcome not in self._outcomes:
            return None
        return Best(trial.number, value, trial.epoch)

    def _challenge(self, by: Best | None) -> None:
        best = self.best
        if by is None:
            return
        if (
            best is None
            or self._direction.better(by.value, best.value)
            or (by.value == best.value and by.trial < best.trial)
        ):
            self.best = by
