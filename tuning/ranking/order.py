"""The order of trials, best first: the one sort key of all rankings."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import NamedTuple, TypeVar

from trainables.specs.workload import Direction
from tuning.ledger.history import TrialHistory
from tuning.ranking.policy import Policy

Item = TypeVar("Item")
Key = tuple[int, float, str, int]
"""Class, value times the direction's sign, experiment, number of the trial: less is better."""


class Entry(NamedTuple):
    """What decides the place of a trial. outcome: None while it runs.  ran: the epochs it has run.

    feasible: whether it has not ended with a broken constraint; if it has, it is not ranked.
    """

    number: int
    outcome: str | None
    value: float | None
    ran: float = math.inf
    experiment: str = ""
    feasible: bool = True


def sort_key(policy: Policy, direction: Direction) -> Callable[[Entry], Key | None]:
    """The function that gives a trial's sort key; None if the trial is not ranked.

    Of equal trials the lower number comes first.
    """
    class_of, sign = policy.class_of, direction.sign

    def key(entry: Entry) -> Key | None:
        number, outcome, value, ran, experiment, feasible = entry
        if value is None or not math.isfinite(value) or not feasible:
            return None
        index = class_of(outcome, ran)
        return None if index is None else (index, sign * value, experiment, number)

    return key


def best_first(
    items: Iterable[Item],
    entry: Callable[[Item], Entry],
    policy: Policy,
    direction: Direction,
    most: int | None = None,
) -> list[Item]:
    """The items that are ranked, in order; of these the first `most`, if that is given."""
    key_of = sort_key(policy, direction)
    ranked = [(key, item) for item in items if (key := key_of(entry(item))) is not None]
    if most is None:
        ranked.sort(key=itemgetter(0))
    else:
        ranked = heapq.nsmallest(most, ranked, key=itemgetter(0))
    return [item for _, item in ranked]


def recorded_entry(trial: TrialHistory) -> Entry:
    """A trial with the running objective that the engine recorded.

    It is the value that `standing` finds in the trial's reports, without reading them.
    """
    return Entry(trial.number, trial.outcome, trial.value, trial.epoch, feasible=trial.feasible)
