"""What a resumed driver does about each trial that the last driver left: a pure function of the ledger.

Ray forgets a scheduler's rungs on restore, so they are replayed here from the reports, in the ledger's
order. A decision that is in the ledger is carried out, and the rule is not asked again.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import assert_never

from tuning.ledger.history import History
from tuning.ledger.outcomes import NOT_OVER, RAN_TO_END, Outcome, StoppedBy
from tuning.ledger.records import (
    AddedRecord,
    BuiltRecord,
    EndedRecord,
    Record,
    ReportRecord,
    StartedRecord,
    StoppedRecord,
)
from tuning.scheduling.rule import (
    Continue,
    ObservingRule,
    PopulationRule,
    Rest,
    RestingRule,
    Stop,
    StoppingRule,
)

_BY = {StoppedBy.USER: Outcome.STOPPED}
_FOLLOWED = (StartedRecord, AddedRecord, StoppedRecord, EndedRecord)


@dataclass(frozen=True)
class ContinueTrial:
    """The trial continues under its own number: from its checkpoint, or from the start without one."""

    trial: int
    from_checkpoint: bool


@dataclass(frozen=True)
class EndTrial:
    """The trial ends as was decided, or as its last report requires.

    asked: the decision is not in the ledger yet.  of: the trial that it takes its result from.
    """

    trial: int
    outcome: Outcome
    asked: bool = False
    of: int | None = None


@dataclass(frozen=True)
class RetryTrial:
    """A failed trial starts again, from its checkpoint if it has one."""

    trial: int


@dataclass(frozen=True)
class RestTrial:
    """The trial rests. asked: the decision is not in the ledger yet."""

    trial: int
    asked: bool


Action = ContinueTrial | EndTrial | RetryTrial | RestTrial


def replay(records: Iterable[Record], rule: StoppingRule | None) -> frozenset[int]:
    """Bring a fresh `rule` to the state that it had when the driver died.

    Returns the trials that the rule stops: by their last report, or as other trials have replaced them. A
    report that a trial repeated, after it had returned to its checkpoint, counts once.
    """
    stopped: set[int] = set()
    reached: dict[int, float] = {}
    unseen: set[int] = set()
    """The trials that continue others: the rule is not asked about them."""
    observes = rule if isinstance(rule, ObservingRule) else None
    for record in records:
        follow(record, rule)
        if (replaced := _replaced_by(record)) is not None:
            stopped.add(replaced)
        if isinstance(record, StartedRecord) and record.parent is not None and record.parent.of_user:
            unseen.add(record.trial)
        if isinstance(record, BuiltRecord) and observes is not None and record.trial not in unseen:
            observes.observe(record)
        if not isinstance(record, ReportRecord) or rule is None or record.trial in unseen:
            continue
        number, epoch, objective = record.trial, record.epoch, record.objective
        if objective is None or not math.isfinite(objective) or epoch <= reached.get(number, -math.inf):
            continue
        reached[number] = epoch
        if observes is not None:
            observes.observe(record)
        if record.outcome in RAN_TO_END:
            rule.finish(number, epoch, objective)
            continue
        decision = rule.decide(number, epoch, objective)
        match decision:
            case Continue() | Rest():  # the rule knows which trials rest
                pass
            case Stop():
                stopped.add(number)
            case _:
                assert_never(decision)
    return frozenset(stopped)


def follow(record: Record, rule: StoppingRule | None) -> None:
    """Tell a rule by which trials rest what it must know of a record besides reports."""
    if not isinstance(record, _FOLLOWED) or not isinstance(rule, RestingRule):
        return
    match record:
        case StartedRecord() | StoppedRecord() | EndedRecord(outcome=Outcome.PAUSED):
            rule.wake(record.trial)
        case AddedRecord() if isinstance(rule, PopulationRule):
            if (replaced := _replaced_by(record)) is not None:
                rule.carried_out(replaced, replaced=True)
        case EndedRecord() if isinstance(rule, PopulationRule) and record.outcome not in NOT_OVER:
            rule.leave(record.trial)
        case _:
            pass


def _replaced_by(record: Record) -> int | None:
    """The trial of a population that an added trial replaces; None for any other record."""
    parent = record.parent if isinstance(record, AddedRecord) else None
    return None if parent is None else parent.instead_of


def reconcile(
    history: History,
    stopped: Collection[int],
    checkpoints: Collection[int],
    *,
    resting: Collection[int] = (),
    retry_failed: bool = False,
) -> list[Action]:
    """Return what to do about each trial that is not over, by number.

    stopped: what `replay` returned.  checkpoints: trials that have a checkpoint to continue from.
    resting: the trials that rest by the replayed rule.
    """
    actions: list[Action] = []
    first: dict[str, int] = {}
    for number, trial in sorted(history.trials.items()):
        outcome, same = trial.outcome, first.setdefault(trial.hash, number)
        if retry_failed and outcome is Outcome.FAILED:
            actions.append(RetryTrial(number))
        if trial.over:
            continue
        last = trial.reports[-1].outcome if trial.reports else None
        if trial.stopped is not None:
            actions.append(EndTrial(number, _BY.get(trial.stopped.by, Outcome.PRUNED)))
        elif last in RAN_TO_END:
            actions.append(EndTrial(number, Outcome(last)))
        elif number in stopped:
            actions.append(EndTrial(number, Outcome.PRUNED, asked=True))
        elif number in resting:
            actions.append(RestTrial(number, asked=outcome is not Outcome.RESTING))
        elif same != number:  # a configuration is proposed again only to reuse its result
            actions.append(EndTrial(number, Outcome.REUSED, of=same))
        else:
            actions.append(ContinueTrial(number, number in checkpoints))
    return actions
