"""The line of trials that a trial goes back to."""

from __future__ import annotations

from typing import Any

from tuning.ledger.history import History
from tuning.ledger.lineage import can_be_repeated, line_of, schedule_of
from tuning.ledger.outcomes import Outcome
from tuning.ledger.parent import Parent
from tuning.ledger.records import EndedRecord, ExperimentRecord, Record, StartedRecord


def started(number: int, rate: float, parent: Parent | None = None, **more: Any) -> StartedRecord:
    return StartedRecord(
        trial=number, params={"learning_rate": rate} | more, hash=f"h{number}", parent=parent
    )


def ended(number: int, outcome: Outcome, epoch: float) -> EndedRecord:
    return EndedRecord(trial=number, outcome=outcome, epoch=epoch)


def history(*records: Record) -> History:
    return History.of(ExperimentRecord(name="a", file="", experiment={}), records)


def replaces(of: int, number: int, epoch: float) -> Parent:
    return Parent(trial=of, state=True, file="f", epoch=epoch, instead_of=number)


def test_a_trial_of_its_own_is_its_line() -> None:
    held = history(started(0, 0.1), ended(0, Outcome.COMPLETED, 4.0))
    assert [link.trial.number for link in line_of(held, 0)] == [0]
    assert schedule_of(held, 0) == ()
    assert can_be_repeated(held, 0)


def test_replacements_are_a_schedule() -> None:
    held = history(
        started(1, 0.1, loss="dice"),
        started(5, 0.08, replaces(1, 2, 2.0), loss="dice"),
        ended(1, Outcome.COMPLETED, 8.0),
        started(7, 0.064, replaces(5, 3, 4.0), loss="dice"),
        ended(7, Outcome.COMPLETED, 8.0),
    )
    assert [(link.trial.number, link.until, link.state) for link in line_of(held, 7)] == [
        (1, 2.0, True),
        (5, 4.0, True),
        (7, None, False),
    ]
    assert schedule_of(held, 7) == (
        "epoch 0 to 2  trial 1  learning_rate 0.1",
        "epoch 2 to 4  trial 5  learning_rate 0.08",
        "epoch 4 to 8  trial 7  learning_rate 0.064",
    )
    assert can_be_repeated(held, 7)


def test_a_warm_copy_begins_its_own_first_epoch() -> None:
    warm = Parent(trial=0, state=False, file="f", epoch=3.0)
    held = history(
        started(0, 0.1),
        ended(0, Outcome.COMPLETED, 4.0),
        started(1, 0.2, warm),
        ended(1, Outcome.PRUNED, 2.0),
    )
    assert schedule_of(held, 1) == (
        "epoch 0 to 3  trial 0  learning_rate 0.1",
        "epoch 0 to 2  trial 1  learning_rate 0.2",
    )
    assert can_be_repeated(held, 1)


def test_where_a_longer_one_began_is_known_if_its_parent_ran_to_its_end() -> None:
    longer = Parent(trial=0, state=True, file="f", epochs=9)
    for outcome, known in ((Outcome.COMPLETED, 4.0), (Outcome.STOPPED, None), (Outcome.PRUNED, None)):
        held = history(started(0, 0.1), ended(0, outcome, 4.0), started(1, 0.1, longer))
        assert line_of(held, 1)[0].until == known
        assert can_be_repeated(held, 1) is (known is not None)
