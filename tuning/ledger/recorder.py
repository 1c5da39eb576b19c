"""Writing the record while a sweep runs, and halting the sweep."""

from __future__ import annotations

import math
from collections.abc import Callable

from trainables.errors import AdaptertuneError, StorageError, SupersededError
from tuning.ledger.history import History, TrialHistory
from tuning.ledger.ledger import Ledger
from tuning.ledger.outcomes import Ending, Outcome
from tuning.ledger.recorded_goals import recorded_goals
from tuning.ledger.recorded_rates import recorded_rates
from tuning.ledger.records import EndedRecord, Record, ResumedRecord, StartedRecord
from tuning.ledger.trial_values import values_of

Listener = Callable[[Record], None]
"""Called with every record after it is written; the records are the sweep's events."""


class Halt(BaseException):
    """Ends the sweep immediately, wherever it is raised.

    It is a BaseException because Ray wraps every Exception from a scheduler or searcher in a TuneError.
    """

    def __init__(self, ending: Ending, error: AdaptertuneError | None = None) -> None:
        super().__init__(ending)
        self.ending = ending
        self.error = error


class Recorder:
    """The record on disk and its history in memory. A record is written, then published, then acted upon.

    resumed: the record with which a resumed sweep begins. The history holds it at once, but it is written
    only before the next record, so that a resume that is refused by then leaves the ledger as it was.
    begun: called once when it is written.
    """

    def __init__(
        self,
        ledger: Ledger,
        history: History,
        listener: Listener | None = None,
        *,
        resumed: ResumedRecord | None = None,
        begun: Callable[[], None] = lambda: None,
    ) -> None:
        self.before = history
        self.history = history if resumed is None else history.with_record(resumed)
        self._pending = resumed
        self._begun = begun
        self._ledger = ledger
        self._listeners = [] if listener is None else [listener]
        self._first = tuple(self._listeners)
        self.goals = recorded_goals(history.header)
        """What is weighed; None if that is one objective."""
        self._rates = recorded_rates(history.header)

    @property
    def pending(self) -> ResumedRecord | None:
        """The record with which a resumed sweep begins, while nothing is written."""
        return self._pending

    def superseded(self) -> bool:
        """Whether another driver has taken over; this one may write nothing more."""
        return self._ledger.superseded()

    def require_ours(self) -> None:
        """Raise Halt if another driver has taken over, or the record was changed by something else."""
        try:
            self._ledger.require_ours()
        except (StorageError, SupersededError) as error:
            raise Halt(Ending.FAILED, error) from error

    def record(self, record: Record) -> None:
        """Write a record, then call the listeners. Raises Halt as `require_ours`, or if the disk is full.

        The start of a trial is written with its number, and with the learning rates at which it trains.
        """
        if isinstance(record, StartedRecord):
            known = self.history.trials.get(record.trial)
            now: dict[str, object] = {"start": 1 if known is None else known.starts + 1}
            if rates := self._rates(record.params):
                now["rates"] = rates
            record = record.model_copy(update=now)
        if (pending := self._pending) is not None:
            self._append(pending)
            self._pending = None
            self._begun()
            for listener in self._first:  # the others began with a history that holds it
                listener(pending)
        self._append(record)
        self.history = self.history.with_record(record)
        for listener in self._listeners:
            listener(record)

    def _append(self, record: Record) -> None:
        try:
            self._ledger.append(record)
        except (StorageError, SupersededError) as error:
            raise Halt(Ending.FAILED, error) from error

    def listen(self, listener: Listener) -> None:
        """Add a listener for every record from now on."""
        self._listeners.append(listener)

    def trial(self, number: int) -> TrialHistory:
        """The current history of a trial."""
        return self.history.trials[number]

    def end(
        self, number: int, outcome: Outcome, reason: str | None = None, *, reuses: int | None = None
    ) -> EndedRecord:
        """Record a trial's end. Its value is the last running objective, or that of the reused trial.

        A failed or diverged trial has no value: its last report must not rank it among completed trials.
        """
        source = self.trial(number if reuses is None else reuses)
        value = None if outcome in (Outcome.FAILED, Outcome.DIVERGED) else source.value
        goals = None if value is None else self.goals
        values = {} if goals is None else values_of(source, goals)
        record = EndedRecord(
            trial=number,
            outcome=outcome,
            reason=reason,
            value=value if value is not None and math.isfinite(value) else None,
            epoch=source.epoch,
            of=reuses,
            values=values,
            broken=[] if goals is None else list(goals.broken(values)),
        )
        self.record(record)
        return record

    def unfinished(self) -> list[int]:
        """The numbers of the trials that have started and not ended."""
        return [n for n, trial in self.history.trials.items() if trial.ended is None]
