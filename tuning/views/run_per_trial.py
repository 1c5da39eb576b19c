"""A view that shows each trial as a separate run: the common part of TensorBoard and Weights & Biases."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from tuning.ledger.history import History, TrialHistory
from tuning.ledger.outcomes import AT_REST, Outcome
from tuning.ledger.records import EndedRecord, Record, ReportRecord, StartedRecord
from tuning.views.view import View
from tuning.views.written_marks import Written


class RunsView(View):
    """Runs in `folder`, one for each trial."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written: dict[int, int] = {}
        """The number of reports of each open run."""

    def begin(self, history: History) -> None:
        """See `View`. Complete runs of finished trials are kept; all others are written again."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._done = Written(self._folder)
        for trial in history.trials.values():
            if not (trial.over and self._done.has(trial) and self.is_there(trial.number)):
                self.remove(trial.number)
                self._write(trial)

    def observe(self, record: Record) -> None:
        """See `View`."""
        match record:
            case StartedRecord():
                if record.trial not in self._written:
                    self._begin(record.trial, record.params, record.time)
            case ReportRecord():
                if record.trial in self._written:
                    self._report(record)
            case EndedRecord():  # the run of a trial that rests stays open
                if record.trial in self._written and record.outcome not in AT_REST:
                    self._end(record)
            case _:
                pass

    def _write(self, trial: TrialHistory) -> None:
        self._begin(trial.number, trial.params, trial.started)
        for report in trial.reports:
            self._report(report)
        if trial.ended is not None and trial.over:
            self._end(trial.ended)

    def _begin(self, number: int, params: Mapping[str, JsonValue], began: float) -> None:
        self._written[number] = 0
        self.start(number, params, began)

    def _report(self, record: ReportRecord) -> None:
        self._written[record.trial] += 1
        self.report(record)

    def _end(self, record: EndedRecord) -> None:
        reports = self._written.pop(record.trial)
        self.end(record, None if record.outcome is Outcome.INTERRUPTED else reports)

    # --- implemented by each view -------------------------------------------------------------

    def is_there(self, number: int) -> bool:
        """Whether a run that was complete still exists."""
        return True

    @abstractmethod
    def remove(self, number: int) -> None:
        """Remove a run before it is written again."""

    @abstractmethod
    def start(self, number: int, params: Mapping[str, JsonValue], began: float) -> None:
        """Open a run. began: seconds since 1970."""

    @abstractmethod
    def report(self, record: ReportRecord) -> None:
        """Add a point to each curve of a run."""

    @abstractmethod
    def end(self, record: EndedRecord, reports: int | None) -> None:
        """Close a run. reports: the number of its reports; None if the trial will resume."""


def curve_values(record: ReportRecord) -> dict[str, float]:
    """The values of a report by the name of their curve, without those that are not finite."""
    named = dict(record.metrics) | {"objective": record.objective, "epoch": record.epoch}
    named |= {"peak_mb": record.peak_mb, "seconds/train": record.train_s}
    return {name: value for name, value in named.items() if value is not None and math.isfinite(value)}
