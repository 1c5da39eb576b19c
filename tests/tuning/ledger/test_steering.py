from __future__ import annotations

import pytest

from trainables.errors import StorageError
from tuning.ledger.history import History
from tuning.ledger.outcomes import Ending, Outcome
from tuning.ledger.records import (
    ClosedRecord,
    EndedRecord,
    ExperimentRecord,
    PausedRecord,
    Record,
    StartedRecord,
    UnpausedRecord,
)
from tuning.ledger.requests import AddRequest, PauseRequest, UnpauseRequest
from tuning.ledger.steering import check_pause, check_unpause, paused_after

HEADER = ExperimentRecord(name="sweep", file="", experiment={})
TRIALS: list[Record] = [
    StartedRecord(trial=0, params={}, hash="a"),
    EndedRecord(trial=0, outcome=Outcome.COMPLETED, epoch=3.0),
    StartedRecord(trial=1, params={}, hash="b"),
]


def history(*more: Record) -> History:
    return History.of(HEADER, [*TRIALS, *more])


@pytest.mark.parametrize(
    ("trial", "more", "said"),
    [
        (0, [], r"trial 0 of sweep has ended already \(completed\)"),
        (7, [], "sweep has no trial 7"),
        (1, [PausedRecord(trial=1, asked=1.0)], "trial 1 of sweep is paused already"),
        (None, [PausedRecord(trial=None, asked=1.0)], "sweep is paused already"),
        (
            None,
            [EndedRecord(trial=1, outcome=Outcome.COMPLETED), ClosedRecord(reason=Ending.FINISHED)],
            "sweep has finished; there is nothing to pause",
        ),
    ],
)
def test_what_cannot_be_paused_is_said(trial: int | None, more: list[Record], said: str) -> None:
    now = history(*more)
    with pytest.raises(StorageError, match=said):
        check_pause(now, trial, now.paused)


@pytest.mark.parametrize(
    ("trial", "more", "said"),
    [
        (1, [], "trial 1 of sweep is not paused"),
        (None, [], "sweep is not paused"),
        (7, [], "sweep has no trial 7"),
        (1, [PausedRecord(trial=None, asked=1.0)], "sweep is paused as a whole, not trial 1 alone"),
        (1, [PausedRecord(trial=1, asked=1.0), UnpausedRecord(trial=1, asked=2.0)], "is not paused"),
    ],
)
def test_what_is_not_paused_cannot_continue(trial: int | None, more: list[Record], said: str) -> None:
    now = history(*more)
    with pytest.raises(StorageError, match=said):
        check_unpause(now, trial, now.paused)


def test_requests_that_wait_count() -> None:
    now = history(PausedRecord(trial=1, asked=1.0))
    waiting = [UnpauseRequest(trial=1), AddRequest(params={}), PauseRequest()]
    assert paused_after(now, waiting) == {None}
    check_pause(now, 1, paused_after(now, waiting))
    check_unpause(now, None, paused_after(now, waiting))
