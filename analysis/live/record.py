"""A sweep's record in memory, kept up to date line by line: what the report's sections are made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from analysis.query.sweep import Sweep, Trial, recorded_trial
from analysis.report.inputs import Material
from trainables.errors import LedgerError
from tuning.experiment.spec import Experiment
from tuning.ledger.header import experiment_of
from tuning.ledger.history import History, TrialHistory
from tuning.ledger.ledger import LEDGER
from tuning.ledger.lines import inconsistent
from tuning.ledger.records import AddedRecord, ExperimentRecord, ResumedRecord
from tuning.ranking.standing import Objective


class LiveRecord:
    """A sweep's history, and its trials as the analysis has them; only what changes is computed again."""

    def __init__(self, folder: Path, header: ExperimentRecord) -> None:
        """header: the first line of the record. Raises LedgerError if this version cannot read it."""
        self.folder = folder
        self.history = History(header)
        self.experiment: Experiment = experiment_of(header)
        self.idle = False
        """Whether no driver runs the sweep."""
        self._lines = 1
        """How many lines of the record it has."""
        self._trials: dict[int, Trial] = {}
        self._changed: set[int] = set()

    def observe(self, records: Iterable[Any]) -> None:
        """Read further lines. Raises LedgerError for a line that cannot follow those before it."""
        for record in records:
            if isinstance(record, ExperimentRecord):
                raise LedgerError(f"{self.folder} has the first line of a record in its middle")
            self._lines += 1
            try:
                self.history = self.history.with_read(record)
            except LedgerError as error:
                raise inconsistent(self.folder / LEDGER, self._lines, error) from error
            if isinstance(record, AddedRecord | ResumedRecord):
                self.experiment = experiment_of(self.history.header)
            if isinstance(number := getattr(record, "trial", None), int) and number in self.history.trials:
                self._changed.add(number)

    def rest(self, idle: bool) -> None:
        """Say whether no driver runs the sweep now."""
        if idle is not self.idle:
            self.idle = idle
            self._trials = {number: replace(trial, idle=idle) for number, trial in self._trials.items()}
            self._changed |= {n for n, trial in self.history.trials.items() if trial.ended is None}

    def changed(self) -> list[tuple[TrialHistory, Trial]]:
        """The trials that have changed since the last call, by number."""
        found = []
        for number in sorted(self._changed):
            history = self.history.trials[number]
            self._trials[number] = recorded_trial(history, self.experiment, idle=self.idle)
            found.append((history, self._trials[number]))
        self._changed.clear()
        return found

    @property
    def trials(self) -> Iterable[Trial]:
        """The trials as `changed` last gave them."""
        return self._trials.values()

    @property
    def objective(self) -> Objective:
        """By what the trials are compared."""
        return Objective.of(self.experiment.workload)

    def material(self) -> Material:
        """What the sections of a report are made of; of the trials as `changed` last gave them."""
        trials = [self._trials[number] for number in sorted(self._trials)]
        return Material(self.folder, self.history, Sweep.of(self.history, idle=self.idle, trials=trials))
