"""The best trial so far, updated with each record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from trainables.specs.workload import Direction, ValueRule
from tuning.ledger.history import TrialHistory
from tuning.ranking.order import Key, recorded_entry, sort_key
from tuning.ranking.policy import live_policy


@dataclass(frozen=True)
class BestTrial:
    """The best value so far and its trial. epoch: the epochs that the trial has run."""

    trial: int
    value: float
    epoch: float


class BestSoFar:
    """The first trial of the ranking under the live policy."""

    def __init__(self, direction: Direction, rule: ValueRule) -> None:
        self._key_of = sort_key(live_policy(rule), direction)
        self._first: tuple[Key, TrialHistory] | None = None

    @property
    def best(self) -> BestTrial | None:
        """The best trial; None while no trial is ranked."""
        if self._first is None:
            return None
        _, trial = self._first
        assert trial.value is not None
        return BestTrial(trial.number, trial.value, trial.epoch)

    def observe(self, changed: TrialHistory, trials: Iterable[TrialHistory]) -> None:
        """Take in that a trial has changed. All trials are compared only if the best one became worse."""
        key = self._key(changed)
        if self._first is None or self._first[1].number != changed.number:
            self._challenge(key, changed)
        elif key is not None and key <= self._first[0]:
            self._first = key, changed
        else:
            self._first = None
            for trial in trials:
                self._challenge(self._key(trial), trial)

    def _key(self, trial: TrialHistory) -> Key | None:
        return self._key_of(recorded_entry(trial))

    def _challenge(self, key: Key | None, trial: TrialHistory) -> None:
        if key is not None and (self._first is None or key < self._first[0]):
            self._first = key, trial
