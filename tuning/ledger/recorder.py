"""What the driver knows while a sweep runs: one door to the record, and how a sweep is halted."""

from __future__ import annotations

import math
from collections.abc import Callable

from trainables.errors import AdaptertuneError, StorageError
from tuning.ledger.history import History, TrialHistory
from tuning.ledger.ledger import Ledger
from tuning.ledger.records import EndedRecord, Ending, Outcome, Record

Listener = Callable[[Record], None]
"""Told of every record once it is written; the records are the sweep's events."""


class Halt(BaseException):
    """Leaves the sweep at once, from wherever it is raised.

    Ray wraps every Exception that a scheduler or searcher raises into a TuneError; only what is no
    Exception passes through it as it is.
    """

    def __init__(self, ending: Ending, error: AdaptertuneError | None = None) -> None:
        super().__init__(ending)
        self.ending = ending
        self.error = error


class Recorder:
    """The record and its reflection in memory. Written first; then shown, then acted upon."""

    def __init__(self, ledger: Ledger, history: History, listener: Listener | None = None) -> None:
        self.history = history
        self._ledger = ledger
        self._listeners = [] if listener is None else [listener]

    def record(self, record: Record) -> None:
        """Writes a record, then tells the listeners. Raises Halt if the disk takes no more."""
        try:
            self._ledger.append(record)
        except StorageError as error:
            raise Halt(Ending.FAILED, error) from error
        self.history = self.history.with_record(record)
        for listener in self._listeners:
            listener(record)

    def listen(self, listener: Listener) -> None:
        """Tells one more of every record from here on."""
        self._listeners.append(listener)

    def trial(self, number: int) -> TrialHistory:
        """A trial as the record has it now."""
        return self.history.trials[number]

    def end(
        self, number: int, outcome: Outcome, reason: str | None = None, *, reuses: int | None = None
    ) -> EndedRecord:
        """Records a trial's end. Its value is the last running objective, or the reused trial's.

        A failed or diverged trial has none: its last report would rank it among those that held.
        """
        source = self.trial(number if reuses is None else reuses)
        value = None if outcome in (Outcome.FAILED, Outcome.DIVERGED) else source.value
        record = EndedRecord(
            trial=number,
            outcome=outcome,
            reason=reason,
            value=value if value is not None and math.isfinite(value) else None,
            epoch=source.epoch,
            of=reuses,
        )
        self.record(record)
        return record

    def unfinished(self) -> list[int]:
        """Numbers of the trials that have started and not ended."""
        return [n for n, trial in self.history.trials.items() if trial.ended is None]
