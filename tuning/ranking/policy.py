"""Which trials are ranked, and which of them before all others: the policies.

Failed and diverged trials have no valid value, and a reused trial repeats the value of another one:
no policy ranks them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from trainables.specs.workload import ValueRule
from tuning.ledger.outcomes import RAN_TO_END, Outcome
from tuning.ranking.standing import reached

NOT_COMPARABLE = frozenset({Outcome.FAILED, Outcome.DIVERGED, Outcome.REUSED})
"""Outcomes of trials whose metrics are not valid, or belong to another trial."""
COMPARABLE: frozenset[str | None] = frozenset({None, *Outcome}) - NOT_COMPARABLE
"""All other outcomes; None is a trial that runs, or whose driver died."""


@dataclass(frozen=True)
class Policy:
    """Which trials are ranked.

    classes: outcomes; every trial of one class comes before every trial of the next. A trial with any
    other outcome is not ranked.  budget: the epoch that a trial must have reached, if there is one.
    """

    classes: tuple[frozenset[str | None], ...]
    budget: float | None = None

    def class_of(self, outcome: str | None, ran: float = math.inf) -> int | None:
        """The index of a trial's class; None if the trial is not ranked. ran: the epochs it has run."""
        return self._indices.get(outcome) if reached(ran, self.budget) else None

    @cached_property
    def _indices(self) -> dict[str | None, int]:
        return {outcome: index for index, outcomes in enumerate(self.classes) for outcome in outcomes}


FINISHED = Policy((frozenset(RAN_TO_END),))
"""Trials that ran to their own end, so that no value comes from a budget that was cut."""
ANY_BUDGET = Policy((COMPARABLE,))
"""All comparable trials, also those that still run, however many epochs each has run."""
FINISHED_THEN_STOPPED = Policy((frozenset(RAN_TO_END), frozenset({Outcome.PRUNED, Outcome.STOPPED})))
"""Trials whose weights no longer change: finished trials, then those that were stopped early."""
FALLBACKS = (FINISHED, ANY_BUDGET)
"""`NAME:best`: the first of these policies that ranks any trial."""


def asked_policy(at: float | None, *, early_stopped: bool) -> Policy:
    """The policy that a user asks for.

    at: the epoch at which all comparable trials that reached it are ranked.  early_stopped: whether
    trials are ranked that did not run to their own end.
    """
    if at is not None:
        return Policy((COMPARABLE,), at)
    return ANY_BUDGET if early_stopped else FINISHED


def live_policy(rule: ValueRule) -> Policy:
    """The policy of the live table. Last reports compare only between trials that have finished."""
    return FINISHED if rule is ValueRule.LAST else ANY_BUDGET


def finalist_policy(rule: ValueRule) -> Policy:
    """The policy by which trials are chosen for scoring on test images; see `live_policy`."""
    return FINISHED if rule is ValueRule.LAST else FINISHED_THEN_STOPPED
