"""Pauses trials, or the whole sweep, and lets them continue.

A pause is recorded at once; the scheduler then takes the workers of the trials concerned away, which save
their state, and the study proposes none of them until it may continue.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from trainables.run_folder import CONTROL, PAUSED
from tuning.ledger.recorder import Recorder
from tuning.ledger.records import PausedRecord, UnpausedRecord
from tuning.ledger.requests import PauseRequest, UnpauseRequest
from tuning.ledger.steering import check_pause, check_unpause


class Pauses:
    """Records what users pause. folder: the experiment's."""

    def __init__(self, folder: Path, recorder: Recorder) -> None:
        self._folder = folder
        self._recorder = recorder

    def pause(self, request: PauseRequest) -> None:
        """Pause a trial or the sweep. Raises StorageError if there is nothing to pause."""
        history = self._recorder.history
        check_pause(history, request.trial, history.paused)
        self._recorder.record(PausedRecord(trial=request.trial, asked=request.time, by=request.by))

    def unpause(self, request: UnpauseRequest) -> None:
        """Let a trial or the sweep continue. Raises StorageError if it is not paused."""
        history = self._recorder.history
        check_unpause(history, request.trial, history.paused)
        self._recorder.record(UnpausedRecord(trial=request.trial, asked=request.time, by=request.by))
        for number in history.trials if request.trial is None else [request.trial]:
            if not self._recorder.history.is_paused(number):
                with suppress(OSError):
                    (self._folder / CONTROL / PAUSED.format(number)).unlink(missing_ok=True)
