"""A rule for each group of trials: a trial is compared with those of its own group only."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from tuning.ledger.outcomes import StoppedBy
from tuning.scheduling.rule import Decision, RestedTrial, RestingRule, StoppingRule


class Grouped:
    """A `RestingRule` that asks the rule of the trial's group.

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

    @property
    def resting(self) -> frozenset[int]:
        """The trials that rest, of all groups."""
        return frozenset(number for rule in self._resting_rules() for number in rule.resting)

    def next_rested(self, *, none_left: bool) -> RestedTrial | None:
        """The resting trial that comes first, of all groups."""
        able = [rule.next_rested(none_left=none_left) for rule in self._resting_rules()]
        return min((trial for trial in able if trial is not None), default=None)

    def wake(self, number: int) -> None:
        """A trial no longer rests."""
        for rule in self._resting_rules():
            rule.wake(number)

    def _resting_rules(self) -> list[RestingRule]:
        return [rule for rule in self._rules.values() if isinstance(rule, RestingRule)]

    def _rule_of(self, number: int) -> StoppingRule:
        group = self._group_of(number)
        if group not in self._rules:
            self._rules[group] = self._build(group)
        return self._rules[group]
