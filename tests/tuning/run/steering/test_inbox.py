from __future__ import annotations

from pathlib import Path

import pytest

from trainables.errors import StorageError
from trainables.run_folder import CONTROL
from tuning.ledger.attempts import Attempt
from tuning.ledger.history import History
from tuning.ledger.ledger import Ledger
from tuning.ledger.recorder import Halt, Recorder
from tuning.ledger.records import ExperimentRecord, PausedRecord
from tuning.ledger.requests import PauseRequest, UnpauseRequest, leave_request, requests_in
from tuning.run.steering.inbox import Inbox

HEADER = ExperimentRecord(name="sweep", file="", experiment={})


class Desk:
    """An inbox whose requests are only noted."""

    def __init__(self, folder: Path) -> None:
        self.recorder = Recorder(Ledger.create(folder, HEADER), History(HEADER))
        self.folder, self.now = folder, 0.0
        self.taken: list[float] = []
        self.inbox = Inbox(
            folder, self.recorder, {PauseRequest: self._note, UnpauseRequest: self._refuse}, lambda: self.now
        )

    def _note(self, request: PauseRequest) -> None:
        self.taken.append(request.time)

    def _refuse(self, request: UnpauseRequest) -> None:
        raise StorageError(f"{request.trial} is not paused")


def test_the_folder_is_looked_into_twice_a_second(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "sweep")
    desk.inbox.check()
    leave_request(desk.folder, PauseRequest(time=1.0))
    desk.now = 0.4
    desk.inbox.check()
    assert desk.taken == []
    desk.now = 0.6
    desk.inbox.check()
    assert desk.taken == [1.0]
    assert requests_in(desk.folder) == []


def test_what_cannot_be_carried_out_is_said_and_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(tmp_path / "sweep")
    leave_request(desk.folder, UnpauseRequest(trial=3))
    (desk.folder / CONTROL / "pause-9.json").write_text("{]")
    desk.inbox.take()
    assert requests_in(desk.folder) == []
    error = capsys.readouterr().err
    assert "a request was not carried out: 3 is not paused" in error
    assert "pause-9.json is no request" in error


def test_requests_are_left_to_a_driver_that_has_taken_over(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "sweep")
    leave_request(desk.folder, UnpauseRequest(trial=3))
    Attempt.claim(desk.folder).end()
    with pytest.raises(Halt):
        desk.inbox.take()
    assert len(requests_in(desk.folder)) == 1


def test_what_is_recorded_is_not_taken_up_again(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "sweep")
    desk.recorder.record(PausedRecord(trial=None, asked=1.0))
    for asked in (1.0, 2.0):
        leave_request(desk.folder, PauseRequest(time=asked))
    desk.inbox.take()
    assert desk.taken == [2.0]
    assert requests_in(desk.folder) == []
