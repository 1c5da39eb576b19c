"""What a driver left behind, and what a resumed one does about it: a pure function of the record.

Ray forgets a scheduler's rungs on restore, so they are replayed here from the reports, in the order
in which the record has them; a decision that the record holds is carried out and not asked again.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

from tuning.ledger.history import History
from tuning.ledger.records import RAN_TO_END, Outcome, Record, ReportRecord, StoppedBy

_BY = {StoppedBy.USER: Outcome.STOPPED}


class Stopping(Protocol):
    """A stopping rule, as `tuning.run.ray_scheduler.Rule`."""

    def stops(self, number: int, epoch: float, objective: float) -> bool:
        """Whether the trial ends after this report."""
        ...

    def finish(self, number: int, epoch: float, objective: float) -> None:
        """The last report of a trial that has run its epochs."""
        ...


@dataclass(frozen=True)
class Continue:
    """The trial goes on under its own number: from its checkpoint, or from the start if it has none."""

    trial: int
    from_checkpoint: bool


@dataclass(frozen=True)
class CarryOut:
    """The trial ends as was decided, or as its last report said.

    asked: the decision is not recorded yet.  of: the trial whose result it reuses.
    """

    trial: int
    outcome: Outcome
    asked: bool = False
    of: int | None = None


@dataclass(frozen=True)
class Retry:
    """A failed trial starts once more, from its checkpoint if it has one."""

    trial: int


Action = Continue | CarryOut | Retry


def replay(records: Iterable[Record], rule: Stopping | None) -> frozenset[int]:
    """Bring a fresh `rule` to the state in which the driver died.

    Returns the trials that the rule stops by their last report. A report that was made again, by a
    trial that had gone back to its checkpoint, counts once.
    """
    stopped: set[int] = set()
    reached: dict[int, float] = {}
    for record in records:
        if not isinstance(record, ReportRecord) or rule is None:
            continue
        number, epoch, objective = record.trial, record.epoch, record.objective
        if objective is None or not math.isfinite(objective) or epoch <= reached.get(number, -math.inf):
            continue
        reached[number] = epoch
        if record.outcome in RAN_TO_END:
            rule.finish(number, epoch, objective)
        elif rule.stops(number, epoch, objective):
            stopped.add(number)
    return frozenset(stopped)


def reconcile(
    history: History,
    stopped: Collection[int],
    checkpoints: Collection[int],
    *,
    retry_failed: bool = False,
) -> list[Action]:
    """What to do about each trial that is not over, by number.

    stopped: by `replay`.  checkpoints: trials that have a checkpoint to go on from.
    """
    actions: list[Action] = []
    first: dict[str, int] = {}
    for number, trial in sorted(history.trials.items()):
        outcome, same = trial.outcome, first.setdefault(trial.hash, number)
        if retry_failed and outcome is Outcome.FAILED:
            actions.append(Retry(number))
        if trial.over:
            continue
        last = trial.reports[-1].outcome if trial.reports else None
        if trial.stopped is not None:
            actions.append(CarryOut(number, _BY.get(trial.stopped.by, Outcome.PRUNED)))
        elif last in RAN_TO_END:
            actions.append(CarryOut(number, Outcome(last)))
        elif number in stopped:
            actions.append(CarryOut(number, Outcome.PRUNED, asked=True))
        elif same != number:  # a configuration is proposed again only to reuse its result
            actions.append(CarryOut(number, Outcome.REUSED, of=same))
        else:
            actions.append(Continue(number, number in checkpoints))
    return actions
