"""A rule for each group of trials: a trial is compared with those of its own group only."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from tuning.ledger.records import StoppedBy
from tuning.scheduling.rule import Decision, StoppingRule


class Grouped:
    """A `StoppingRule` that asks the rule of the trial's group.

    group_of: the group of a trial, by its number; always the same for one number.  build: builds the rule of
    a group when its first trial reports.
    """

    def __init__(
        self, by: StoppedBy, group_of: Callable[[int], Hashable], build: Callable[[Hashable], StoppingRule]
    ) -> None:
        self.by = by
        self._group_of = group_of
        self._build = build
        self._rules: dict[Hashable, StoppingRule] = {}

    def decide(self, number: int, epoch: float, objective: float) -> Decision:
        """Decide as the rule of the trial's group does."""
        return self._rule_of(number).decide(number, epoch, objective)

    def finish(self, number: int, epoch: float, objective: float) -> None:
        """Take the last report of a trial of the group."""
        self._rule_of(number).finish(number, epoch, objective)

    def _rule_of(self, number: int) -> StoppingRule:
        group = self._group_of(number)
        if group not in self._rules:
            self._rules[group] = self._build(group)
        return self._rules[group]
