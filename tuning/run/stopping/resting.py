"""Trials that rest: which of them continues when a worker is free, and what becomes of them at the end."""

from __future__ import annotations

from collections.abc import Callable

from tuning.ledger.history import TrialHistory
from tuning.ledger.recorder import Recorder
from tuning.run.stopping.prune import prune
from tuning.scheduling.rule import RestingRule, StoppingRule
from tuning.search.study import Study


class Resting:
    """The trials that the rule lets rest, for the study, which proposes them again.

    first: called before one is taken; it carries out what the rule has found meanwhile.
    """

    def __init__(self, rule: RestingRule, recorder: Recorder) -> None:
        self._rule = rule
        self._recorder = recorder
        self.first: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        """How many trials rest."""
        return len(self._rule.resting)

    def take(self, *, none_left: bool) -> TrialHistory | None:
        """The trial that continues before a new one is started; it no longer rests. None if none does.

        none_left: whether no new trials are left.
        """
        self.first()
        found = self._rule.next_rested(none_left=none_left)
        if found is None:
            return None
        self._rule.wake(found.number)
        return self._recorder.trial(found.number)


def resting_of(rule: StoppingRule | None, recorder: Recorder) -> Resting | None:
    """The resting trials of a sweep; None if its rule never lets one rest."""
    return Resting(rule, recorder) if isinstance(rule, RestingRule) else None


def end_resting(rule: StoppingRule | None, recorder: Recorder, study: Study) -> None:
    """End the trials that still rest when no trial is left to run: better ones have taken their place."""
    if not isinstance(rule, RestingRule):
        return
    for number in sorted(rule.resting):
        rule.wake(number)
        prune(number, rule, recorder, study)
