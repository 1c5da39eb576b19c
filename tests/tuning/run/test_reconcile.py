"""What a resumed driver does about each trial, and which calls a new stopping rule gets: on tables."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from tuning.ledger.history import History
from tuning.ledger.outcomes import Outcome, StoppedBy
from tuning.ledger.records import (
    EndedRecord,
    ExperimentRecord,
    Record,
    ReportRecord,
    StartedRecord,
    StoppedRecord,
)
from tuning.run.reconcile import Action, ContinueTrial, EndTrial, RestTrial, RetryTrial, reconcile, replay
from tuning.scheduling.rule import CONTINUE, STOP, Decision

HEADER = ExperimentRecord(name="a", file="", experiment={})


def started(trial: int) -> StartedRecord:
    return StartedRecord(trial=trial, params={}, hash=f"h{trial}")


def report(trial: int, epoch: float, objective: float | None, outcome: Any = None) -> ReportRecord:
    return ReportRecord(trial=trial, epoch=epoch, step=round(epoch), objective=objective, outcome=outcome)


def history(records: Iterable[Record]) -> History:
    return History.of(HEADER, records)


# --- reconcile: every way in which a driver can leave a trial ---------------------------------

ANY: Any = object()
NO_REPORT = "no report"
GOES_ON = (None, Outcome.INTERRUPTED, Outcome.RESTING, Outcome.PAUSED)
ENDED = tuple(o for o in Outcome if o not in (*GOES_ON, Outcome.FAILED))


@dataclass(frozen=True)
class Left:
    """The state in which a driver left a trial. last: its last report.  ruled: the rule stops it there."""

    outcome: Outcome | None
    stopped: StoppedBy | None
    last: str | None
    ruled: bool
    checkpoint: bool
    retry_failed: bool

    def records(self) -> list[Record]:
        found: list[Record] = [started(0)]
        if self.last != NO_REPORT:
            found += [report(0, 1.0, 0.4), report(0, 2.0, 0.5, self.last)]
        if self.stopped is not None:
            found.append(StoppedRecord(trial=0, by=self.stopped, epoch=2.0))
        if self.outcome is not None:
            found.append(EndedRecord(trial=0, outcome=self.outcome, value=0.5, epoch=2.0))
        return found


def row(does: str, *then: Action, **left: Any) -> Any:
    return pytest.param({name: left.get(name, ANY) for name in Left.__annotations__}, list(then), id=does)


# The first row that matches applies. Values that are not named do not matter.
TABLE = [
    row("over stays over", outcome=ENDED),
    row("failed stays so", outcome=(Outcome.FAILED,), retry_failed=(False,)),
    row("failed starts once more when asked", RetryTrial(0), outcome=(Outcome.FAILED,), retry_failed=(True,)),
    row(
        "the user's stop is carried out",
        EndTrial(0, Outcome.STOPPED),
        outcome=GOES_ON,
        stopped=(StoppedBy.USER,),
    ),
    row(
        "the rule's stop is carried out",
        EndTrial(0, Outcome.PRUNED),
        outcome=GOES_ON,
        stopped=tuple(by for by in StoppedBy if by is not StoppedBy.USER),
    ),
    row("done is completed", EndTrial(0, Outcome.COMPLETED), outcome=GOES_ON, last=("completed",)),
    row("out of patience", EndTrial(0, Outcome.EARLY_STOPPED), outcome=GOES_ON, last=("early_stopped",)),
    row("a stop that was due", EndTrial(0, Outcome.PRUNED, asked=True), outcome=GOES_ON, ruled=(True,)),
    row("on from the checkpoint", ContinueTrial(0, True), outcome=GOES_ON, checkpoint=(True,)),
    row("on from the start", ContinueTrial(0, False), outcome=GOES_ON, checkpoint=(False,)),
]
EVERY = [
    left
    for left in itertools.starmap(
        Left,
        itertools.product(
            (None, *Outcome),
            (None, *StoppedBy),
            (NO_REPORT, None, "completed", "early_stopped"),
            (False, True),
            (False, True),
            (False, True),
        ),
    )
    # A rule stops a trial after a report that is not its last.
    if not left.ruled or left.last is None
]


def _fits(left: Left, given: dict[str, Any]) -> bool:
    return all(wanted is ANY or getattr(left, name) in wanted for name, wanted in given.items())


def _rows(left: Left) -> int:
    return next(i for i, param in enumerate(TABLE) if _fits(left, param.values[0]))


@pytest.mark.parametrize(("given", "then"), TABLE)
def test_each_way_to_leave_a_trial_has_its_action(given: dict[str, Any], then: list[Action]) -> None:
    mine = [left for left in EVERY if TABLE[_rows(left)].values[0] is given]
    assert mine
    for left in mine:
        actions = reconcile(
            history(left.records()),
            {0} if left.ruled else (),
            {0} if left.checkpoint else (),
            retry_failed=left.retry_failed,
        )
        assert actions == then, left


def test_trials_are_seen_to_by_number_and_apart() -> None:
    lefts = {
        3: Left(None, None, None, False, True, False),
        0: Left(None, StoppedBy.ASHA, None, False, True, False),
        2: Left(Outcome.COMPLETED, None, "completed", False, True, False),
        1: Left(None, None, NO_REPORT, False, False, False),
    }
    records = [
        record.model_copy(update={"trial": number, "hash": f"h{number}"})
        for number, left in lefts.items()
        for record in left.records()
    ]
    assert reconcile(history(records), (), {0, 2, 3}) == [
        EndTrial(0, Outcome.PRUNED),
        ContinueTrial(1, False),
        ContinueTrial(3, True),
    ]


def test_a_configuration_that_was_drawn_again_to_reuse_its_result_does_not_run() -> None:
    """The driver died between the two lines that record this."""
    records: list[Record] = [
        started(0),
        EndedRecord(trial=0, outcome=Outcome.COMPLETED, value=0.5),
        started(1),
        started(2).model_copy(update={"hash": "h0"}),
    ]
    assert reconcile(history(records), (), ()) == [
        ContinueTrial(1, False),
        EndTrial(2, Outcome.REUSED, of=0),
    ]
    records.append(EndedRecord(trial=2, outcome=Outcome.REUSED, value=0.5, of=0))
    assert reconcile(history(records), (), ()) == [ContinueTrial(1, False)]


def test_what_was_carried_out_is_not_carried_out_again() -> None:
    """A resume that was interrupted while it carried out decisions starts again."""
    records = Left(None, None, None, True, False, False).records()
    (action,) = reconcile(history(records), {0}, ())
    assert action == EndTrial(0, Outcome.PRUNED, asked=True)
    records.append(StoppedRecord(trial=0, by=StoppedBy.ASHA, epoch=2.0))
    (action,) = reconcile(history(records), {0}, ())
    assert action == EndTrial(0, Outcome.PRUNED)
    records.append(EndedRecord(trial=0, outcome=Outcome.PRUNED))
    assert reconcile(history(records), {0}, ()) == []


@pytest.mark.parametrize("outcome", [None, Outcome.RESTING, Outcome.INTERRUPTED])
def test_a_trial_rests_as_the_replayed_rule_says(outcome: Outcome | None) -> None:
    left = Left(outcome, None, None, ruled=False, checkpoint=True, retry_failed=False)
    asked = outcome is not Outcome.RESTING
    assert reconcile(history(left.records()), (), {0}, resting={0}) == [RestTrial(0, asked=asked)]


@pytest.mark.parametrize("outcome", [None, Outcome.RESTING, Outcome.INTERRUPTED])
def test_a_trial_rests_if_the_replayed_rule_says_so(outcome: Outcome | None) -> None:
    left = Left(outcome, None, None, ruled=False, checkpoint=True, retry_failed=False)
    asked = outcome is not Outcome.RESTING
    assert reconcile(history(left.records()), (), {0}, resting={0}) == [RestTrial(0, asked=asked)]


# --- replay: the calls that a rule gets -------------------------------------------------------


class NotedCalls:
    """A rule that records its calls, and stops trials below 0.2."""

    by = StoppedBy.ASHA

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def decide(self, number: int, epoch: float, objective: float) -> Decision:
        self.calls.append(("decide", number, epoch, objective))
        return STOP if objective < 0.2 else CONTINUE

    def finish(self, number: int, epoch: float, objective: float) -> None:
        self.calls.append(("finish", number, epoch, objective))


@pytest.mark.parametrize(
    ("records", "calls", "stopped"),
    [
        pytest.param([], [], set(), id="nothing"),
        pytest.param([started(0)], [], set(), id="no report"),
        pytest.param(
            [report(1, 1, 0.5), report(0, 1, 0.6), report(1, 2, 0.7)],
            [("decide", 1, 1, 0.5), ("decide", 0, 1, 0.6), ("decide", 1, 2, 0.7)],
            set(),
            id="in the order of the record",
        ),
        pytest.param([report(0, 1, 0.1)], [("decide", 0, 1, 0.1)], {0}, id="a stop that was due"),
        pytest.param(
            [report(0, 1, 0.5), report(0, 2, 0.5), started(0), report(0, 2, 0.5), report(0, 3, 0.5)],
            [("decide", 0, 1, 0.5), ("decide", 0, 2, 0.5), ("decide", 0, 3, 0.5)],
            set(),
            id="made again, counted once",
        ),
        pytest.param(
            [report(0, 1, 0.1, "completed"), report(1, 1, 0.1, "early_stopped")],
            [("finish", 0, 1, 0.1), ("finish", 1, 1, 0.1)],
            set(),
            id="a last report finishes, it is not asked about",
        ),
        pytest.param(
            [report(0, 1, 0.5, "completed"), started(0), report(0, 1, 0.5, "completed")],
            [("finish", 0, 1, 0.5)],
            set(),
            id="a last report made again finishes once",
        ),
        pytest.param(
            [report(0, 1, None), report(0, 2, math.nan), report(0, 3, math.inf), report(0, 4, 0.5)],
            [("decide", 0, 4, 0.5)],
            set(),
            id="what is no number is passed over",
        ),
        pytest.param(
            [report(0, 0, 0.5)], [("decide", 0, 0, 0.5)], set(), id="a report before the first step counts"
        ),
    ],
)
def test_a_rule_is_told_what_it_was_told_before(
    records: list[Record], calls: list[Any], stopped: set[int]
) -> None:
    rule = NotedCalls()
    assert replay(records, rule) == stopped
    assert rule.calls == calls
    assert replay(records, None) == frozenset()
