from __future__ import annotations

from pathlib import Path

import pytest

from tuning.ledger.history import TrialHistory
from tuning.ledger.outcomes import Outcome
from tuning.ledger.records import EndedRecord, ReportRecord
from tuning.views.written_marks import FILE, Written


def trial(number: int, reports: int, ended: float) -> TrialHistory:
    made = tuple(
        ReportRecord(trial=number, epoch=float(epoch), step=epoch, objective=0.5)
        for epoch in range(1, reports + 1)
    )
    end = EndedRecord(trial=number, outcome=Outcome.COMPLETED, time=ended)
    return TrialHistory(number, {}, "hash", 0.0, reports=made, ended=end)


def test_a_trial_that_ended_once_more_is_not_complete(tmp_path: Path) -> None:
    """It may have failed and started again, with as many reports."""
    Written(tmp_path).add(3, 2, 1000.1 + 0.2)
    marks = Written(tmp_path)
    assert marks.has(trial(3, 2, 1000.1 + 0.2))
    assert not marks.has(trial(3, 2, 1001.0))
    assert not marks.has(trial(3, 1, 1000.1 + 0.2))
    assert not marks.has(trial(4, 2, 1000.1 + 0.2))


def test_marks_of_before_have_no_time_and_count_as_before(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("0 6\n1 2\n")
    marks = Written(tmp_path)
    assert marks.has(trial(1, 2, 5.0))
    assert not marks.has(trial(1, 3, 5.0))
    marks.add(1, 2, 7.0)
    assert Written(tmp_path).has(trial(1, 2, 7.0))
    assert not Written(tmp_path).has(trial(1, 2, 5.0))


@pytest.mark.parametrize("torn", ["1", "1 2", "1 2 5", "1 2 5.0"])
def test_a_torn_line_is_no_mark_and_spoils_no_other(tmp_path: Path, torn: str) -> None:
    (tmp_path / FILE).write_text(f"0 6 4.0\njunk line\n{torn}")
    marks = Written(tmp_path)
    assert marks.has(trial(0, 6, 4.0))
    assert not marks.has(trial(1, 2, 5.0))
    marks.add(2, 1, 9.0)
    assert (tmp_path / FILE).read_text() == "0 6 4.0\n2 1 9.0\n"
